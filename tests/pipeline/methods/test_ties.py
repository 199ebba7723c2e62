"""What TIES promises beyond the laws: elections, draws and divisors, each on a case small enough to do by
hand.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.methods import load_method
from tests.helpers.driver import Given, merge, merge_one, resolve

TIES = load_method("ties")


def moved(experts: list[list[float]], **chosen: object) -> Tensor:
    """The merge of the experts over a base of zeros."""
    experts_EN = torch.tensor(experts)
    knobs = resolve(TIES, len(experts), **{"weight": 1.0, **chosen})
    return merge_one(TIES, torch.zeros(experts_EN.shape[1]), experts_EN, knobs)


def test_mean_of_those_that_agree() -> None:
    """Entries that oppose the sum's sign, and zeros, take part in neither sum nor divisor."""
    merged_N = moved([[4.0, 1.0, -3.0, 0.0], [2.0, -5.0, -1.0, 0.0], [-1.0, 0.0, 2.0, 0.0]])
    assert merged_N.tolist() == [3.0, -5.0, -2.0, 0.0]


def test_weights_vote_and_divide() -> None:
    """Signs are elected on weighted deltas, and the divisor is the sum of the weights that agree."""
    merged_N = moved([[4.0, 1.0], [-1.0, -1.0], [2.0, 1.0]], weight=(1.0, 8.0, 2.0))
    assert merged_N.tolist() == pytest.approx([8.0 / 3.0, -1.0])
    plain_N = moved([[4.0, 1.0], [-1.0, -1.0], [2.0, 1.0]], weight=(1.0, 8.0, 2.0), normalize=False)
    assert plain_N.tolist() == [8.0, -8.0]


def test_divisor_zero_counts_as_one() -> None:
    """Agreeing weights that cancel divide by one."""
    assert moved([[1.0], [-3.0]], weight=(1.0, -1.0)).tolist() == [4.0]


def test_draws_are_positive_for_mergekit() -> None:
    """A sum of exactly zero elects the positive side."""
    assert moved([[2.0, -1.0], [-2.0, 1.0]]).tolist() == [2.0, 1.0]


def test_draws_follow_the_majority_for_the_authors() -> None:
    """With `zero_sign: majority` a sum of zero takes the sign of most elected entries; an even vote is
    positive.
    """
    experts = [[2.0, -1.0, -1.0, 1.0], [-2.0, -1.0, -1.0, 1.0]]
    assert moved(experts, zero_sign="majority").tolist() == [-2.0, -1.0, -1.0, 1.0]
    assert moved([[2.0, -1.0, 1.0], [-2.0, -1.0, 1.0]], zero_sign="majority").tolist() == [2.0, -1.0, 1.0]


def test_majority_is_the_scope_s() -> None:
    """Under model scope the majority is taken over all tensors, else over each."""
    down = Given("down", torch.zeros(3), -torch.ones(2, 3))
    draw = Given("draw", torch.zeros(1), torch.tensor([[1.0], [-1.0]]))
    for scope, expected in (("tensor", 1.0), ("model", -1.0)):
        knobs = resolve(TIES, 2, weight=1.0, zero_sign="majority", trim_scope=scope)
        assert merge(TIES, [down, draw], knobs)["draw"].tolist() == [expected]


def test_rescale_keeps_the_norm_of_each_expert() -> None:
    """What the trim leaves of an expert is scaled to the L1 norm that its delta had."""
    merged_N = moved([[1.0, -2.0, 3.0, 4.0]], density=0.5, rescale=True)
    assert merged_N.tolist() == pytest.approx([0.0, 0.0, 3.0 * 10 / 7, 4.0 * 10 / 7])


def test_norms_too_small_to_match_are_left() -> None:
    """Below 1e-7 nothing is rescaled."""
    merged_N = moved([[1e-9, -2e-9, 3e-9, 4e-9]], density=0.5, rescale=True)
    assert torch.equal(merged_N, torch.tensor([0.0, 0.0, 3e-9, 4e-9]))
