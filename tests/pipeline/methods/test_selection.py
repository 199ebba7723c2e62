"""Exactly k, found without sorting: how many are kept, which of equals, and in how few rounds."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.kernels.plain.block import PlainBlock
from pipeline.methods import load_method
from pipeline.methods.contract import Knobs, Round, Totals
from tests.helpers.cases import DTYPES, tensors
from tests.helpers.driver import Given, merge_one, resolve, settle_totals

TIES = load_method("ties")


def trimmed(delta_N: Tensor, density: float, cuts: tuple[int, ...] = ()) -> Tensor:
    """What TIES keeps of one delta, zeros elsewhere."""
    knobs = resolve(TIES, 1, weight=1.0, density=density)
    return merge_one(TIES, torch.zeros_like(delta_N), delta_N[None], knobs, cuts=list(cuts))


def rounds(knobs: Knobs, given: Given) -> list[str]:
    """Names of the rounds that settling one tensor takes."""
    seen: list[str] = []
    ask = TIES.next_round

    def noted(knobs: Knobs, totals: Totals) -> Round | None:
        round_ = ask(knobs, totals)
        seen.extend([round_.name] if round_ else [])
        return round_

    settle_totals(type(TIES)(**{**vars(TIES), "next_round": noted}), given, knobs)
    return seen


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("density", [0.0001, 0.1, 0.25, 0.5, 0.9, 0.999])
def test_exactly_k_of_many_equals(density: float, dtype: torch.dtype) -> None:
    """max(1, int(density * n)) entries are kept, of equal magnitudes those with the lowest index."""
    generator = torch.Generator().manual_seed(1)
    for size in (1, 2, 9, 100, 1001):
        delta_N = (torch.randint(1, 4, (size,), generator=generator) / 4).to(dtype)
        delta_N *= torch.randint(0, 2, (size,), generator=generator) * 2 - 1
        k = max(1, int(density * size))
        by_rank = sorted(range(size), key=lambda i: (-abs(float(delta_N[i])), i))
        expected = torch.zeros_like(delta_N)
        expected[by_rank[:k]] = delta_N[by_rank[:k]]
        for cuts in ((), (size // 3, size // 2)):
            assert torch.equal(trimmed(delta_N, density, cuts), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_neighbouring_numbers_are_told_apart(dtype: torch.dtype) -> None:
    """Magnitudes that differ in their last bit only are ranked correctly."""
    one = torch.tensor(1.0, dtype=dtype)
    steps = [one]
    for _ in range(50):
        steps.append(torch.nextafter(steps[-1], torch.tensor(4.0, dtype=dtype)))
    delta_N = torch.stack(steps)[torch.randperm(51, generator=torch.Generator().manual_seed(0))]
    kept_N = trimmed(delta_N, 0.2, (13, 14))
    assert sorted(kept_N[kept_N != 0].tolist()) == sorted(delta_N.tolist())[-10:]


def test_zeros_are_never_kept() -> None:
    """Where fewer than k entries are not zero, they all stay and nothing else does."""
    delta_N = torch.zeros(100)
    delta_N[[3, 50, 99]] = torch.tensor([1e-40, -2.0, 3.0])
    assert torch.equal(trimmed(delta_N, 0.5, (40,)), delta_N)
    assert torch.equal(trimmed(torch.zeros(10), 0.5), torch.zeros(10))


def test_density_zero_keeps_nothing() -> None:
    """A density of zero removes the expert, not all but one of its entries."""
    assert torch.equal(trimmed(torch.ones(10), 0.0, (3,)), torch.zeros(10))


def test_broken_magnitudes_rank_above_all_others() -> None:
    """Inf and NaN take a place among the k, so that the other places go to the largest finite magnitudes."""
    delta_N = torch.tensor([1.0, float("nan"), 5.0, -float("inf"), 4.0, 2.0])
    kept_N = trimmed(delta_N, 0.5, (2,))
    assert kept_N[2] == 5 and bool(kept_N[1].isnan()) and kept_N[3] == -float("inf")
    assert torch.equal(kept_N[[0, 4, 5]], torch.zeros(3))
    only_broken = trimmed(torch.tensor([float("nan")] * 3 + [1.0]), 0.5)
    assert bool(only_broken[:3].isnan().all()) and only_broken[3] == 0


def test_model_scope_shares_one_threshold() -> None:
    """Under model scope k counts over all tensors, and equal magnitudes are kept from the first tensor on."""
    from tests.helpers.driver import merge

    ones = [Given(name, torch.zeros(10), torch.ones(1, 10)) for name in ("a", "b")]
    ones.append(Given("c", torch.zeros(5), torch.full((1, 5), 2.0)))
    knobs = resolve(TIES, 1, weight=1.0, density=0.7, trim_scope="model")
    for cuts in ({}, {"a": [3], "b": [1, 2]}):
        merged = merge(TIES, ones, knobs, cuts=cuts)
        assert [int(merged[name].count_nonzero()) for name in "abc"] == [10, 2, 5]
        assert torch.equal(merged["b"][:2], torch.ones(2))


def test_rounds_are_skipped_where_nothing_is_left_to_learn() -> None:
    """A sample and one count near the guess do; equals are counted only where some of them must go."""
    wide = Given("w", torch.zeros(4), torch.tensor([[1.0, 1.0 + 2**-20, 1.0 + 2**-21, 3.0]]))
    both = ["magnitudes.sample", "magnitudes.near"]
    assert rounds(resolve(TIES, 1, weight=1.0, density=0.5), wide) == both
    assert rounds(resolve(TIES, 1, weight=1.0, density=0.25), wide) == both
    (narrow,) = tensors("grid", torch.bfloat16, experts=1)
    assert rounds(resolve(TIES, 1, weight=1.0, density=0.5), narrow) == [*both, "ties"]
    same = Given("w", torch.zeros(4), torch.ones(1, 4))
    assert rounds(resolve(TIES, 1, weight=1.0, density=0.5), same) == [*both, "ties"]
    assert rounds(resolve(TIES, 1, weight=1.0, density=1.0), same) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_sample_that_misleads_costs_rounds_and_nothing_else(dtype: torch.dtype) -> None:
    """Where the sampled blocks are unlike the others the digits are counted, to the same result."""
    generator = torch.Generator().manual_seed(3)
    large_N = torch.randn(600, generator=generator, dtype=torch.float64).to(dtype)
    delta_N = torch.cat([large_N * 1e-9, large_N, large_N * 1e9])
    asked: list[str] = []

    def sampled_at_the_front(round_: Round, block: PlainBlock, *given: Any) -> None:
        asked.append(round_.name)
        if not round_.sample or block.start == 0:
            TIES.measure(round_, block, *given)
        else:
            TIES.measure(round_, replace(block, experts_EN=block.experts_EN * 0), *given)

    method = replace(TIES, measure=sampled_at_the_front)
    knobs = resolve(TIES, 1, weight=1.0, density=0.5)
    found_N = merge_one(method, torch.zeros_like(delta_N), delta_N[None], knobs, cuts=[600, 1200])
    threshold = delta_N.abs().sort(descending=True).values[899]
    assert torch.equal(found_N, torch.where(delta_N.abs() >= threshold, delta_N, 0))
    assert "magnitudes.63" in asked or "magnitudes.31" in asked


@pytest.mark.parametrize("factor", [1.03, 0.97, 0.0])
def test_a_near_miss_costs_one_more_look(factor: float) -> None:
    """Where the threshold lies a little beside the window, or is zero, the second look finds it."""
    generator = torch.Generator().manual_seed(4)
    delta_N = torch.rand(3000, generator=generator) + 1
    delta_N[::5] *= -1
    if not factor:
        delta_N[1000:] = 0
    asked: list[str] = []

    def misled(round_: Round, block: PlainBlock, *given: Any) -> None:
        asked.append(round_.name)
        other = block.experts_EN * factor if factor else torch.ones_like(block.experts_EN)
        TIES.measure(round_, replace(block, experts_EN=other) if round_.sample else block, *given)

    knobs = resolve(TIES, 1, weight=1.0, density=0.5)
    method = replace(TIES, measure=misled)
    found_N = merge_one(method, torch.zeros_like(delta_N), delta_N[None], knobs)
    threshold = delta_N.abs().sort(descending=True).values[1499]
    assert torch.equal(found_N, torch.where(delta_N.abs() >= threshold, delta_N, 0))
    assert list(dict.fromkeys(asked)) == ["magnitudes.sample", "magnitudes.near", "magnitudes.again"]


def test_each_expert_has_its_own_threshold() -> None:
    """Experts with different densities keep different shares, independently of each other."""
    (given,) = tensors("random", torch.float32, experts=3, sizes=(1000,))
    assert given.base_N is not None
    for densities in itertools.permutations((0.1, 0.5, 1.0)):
        knobs = resolve(TIES, 3, weight=(1.0, 0.0, 0.0), density=densities, normalize=False)
        merged_N = merge_one(TIES, given.base_N, given.experts_EN, knobs)
        assert int((merged_N != given.base_N).sum()) == int(densities[0] * 1000)
