"""What DARE promises beyond the laws: its expectation, its norm, its shares."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.methods import load_method
from tests.helpers.cases import tensors
from tests.helpers.driver import merge_one, resolve


@pytest.mark.parametrize("name", ["dare_linear", "dare_ties"])
def test_expectation_is_the_dense_merge(name: str) -> None:
    """Over many seeds the mean of a merge rescaled by 1/density is the merge without drops (one expert)."""
    method = load_method(name)
    (given,) = tensors("random", torch.float64, experts=1, sizes=(400,))
    assert given.base_N is not None
    delta_N, density, seeds = given.experts_EN[0] - given.base_N, 0.3, 400
    total_N = torch.zeros_like(delta_N)
    for seed in range(seeds):
        knobs = resolve(method, 1, weight=1.0, density=density, rescale="expectation", seed=seed)
        total_N += merge_one(method, given.base_N, given.experts_EN, knobs) - given.base_N
    error_N = delta_N.abs() * math.sqrt((1 / density - 1) / seeds)
    assert float(((total_N / seeds - delta_N).abs() / error_N).max()) < 5


def test_l1_keeps_the_norm() -> None:
    """`rescale: true` is `l1`: the sparse delta has the L1 norm of the dense one; `false` leaves survivors
    alone.
    """
    method = load_method("dare_linear")
    (given,) = tensors("random", torch.float64, experts=1, sizes=(5000,))
    assert given.base_N is not None
    delta_N = given.experts_EN[0] - given.base_N
    sparse = {}
    for rescale in (True, "l1", False, "expectation"):
        knobs = resolve(method, 1, weight=1.0, density=0.2, rescale=rescale)
        merged_N = merge_one(method, torch.zeros_like(delta_N), delta_N[None], knobs)
        sparse[rescale] = merged_N
    assert torch.equal(sparse[True], sparse["l1"])
    assert float(sparse["l1"].abs().sum()) == pytest.approx(float(delta_N.abs().sum()), rel=1e-12)
    survivors = sparse[False] != 0
    assert torch.equal(sparse[False][survivors], delta_N[survivors])
    assert torch.allclose(sparse["expectation"], sparse[False] * 5, rtol=1e-15)


@pytest.mark.parametrize("rescale", [False, True, "l1", "expectation"])
def test_density_zero_removes_the_expert(rescale: bool | str) -> None:
    """An expert of which nothing survives adds nothing, however survivors are rescaled."""
    method = load_method("dare_linear")
    (given,) = tensors("random", torch.float32, experts=1)
    knobs = resolve(method, 1, weight=1.0, density=0.0, rescale=rescale)
    assert given.base_N is not None
    assert torch.equal(merge_one(method, given.base_N, given.experts_EN, knobs), given.base_N)


def test_seed_model_and_tensor_choose_the_mask() -> None:
    """Another seed or another model loses other entries; the same model listed under another position loses
    the same.
    """
    method = load_method("dare_linear")
    (given,) = tensors("random", torch.float32, experts=1, sizes=(300,))

    def merged(seed: int, model: str) -> torch.Tensor:
        knobs = resolve(method, 1, weight=1.0, density=0.5, seed=seed)
        return merge_one(method, given.base_N, given.experts_EN, knobs, models=[model])

    assert torch.equal(merged(0, "a"), merged(0, "a"))
    assert not torch.equal(merged(0, "a"), merged(1, "a"))
    assert not torch.equal(merged(0, "a"), merged(0, "b"))


def test_trim_after_drop() -> None:
    """The magnitude trim counts all entries and takes survivors only, the largest."""
    method = load_method("dare_ties")
    (given,) = tensors("random", torch.float32, experts=1, sizes=(1000,))
    assert given.base_N is not None
    for density, trim, expected in ((0.5, 0.1, 100), (0.1, 0.5, None), (1.0, 0.25, 250)):
        knobs = resolve(method, 1, weight=1.0, density=density, trim_density=trim, rescale=False)
        merged_N = merge_one(method, torch.zeros(1000), given.experts_EN, knobs)
        dropped = resolve(method, 1, weight=1.0, density=density, rescale=False)
        survivors_N = merge_one(method, torch.zeros(1000), given.experts_EN, dropped)
        kept = expected if expected is not None else int(survivors_N.count_nonzero())
        assert int(merged_N.count_nonzero()) == kept
        assert float(merged_N[merged_N != 0].abs().min()) >= float(survivors_N[merged_N == 0].abs().max())
