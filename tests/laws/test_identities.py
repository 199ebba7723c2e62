"""What must hold between merges: one expert, base alone, copies, order, and methods that coincide."""

from __future__ import annotations

import itertools

import pytest
import torch

from pipeline.methods import CATALOGUE, load_method
from tests.helpers.cases import (
    DTYPES,
    WEIGHTS,
    Setting,
    each_with,
    every_method,
    every_setting,
    rounding,
    same_bits,
    tensors,
)
from tests.helpers.driver import Given, merge, merge_one, resolve

NEED_BASE = [name for name in CATALOGUE if load_method(name).traits.base == "required"]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("setting", every_method())
def test_one_expert(setting: Setting, dtype: torch.dtype) -> None:
    """One expert of weight one with nothing dropped is that expert."""
    (given,) = tensors("grid", dtype, experts=1)
    merged_N = merge_one(setting.load(), given.base_N, given.experts_EN, setting.knobs(1))
    assert torch.equal(merged_N, given.experts_EN[0])


@pytest.mark.parametrize(("setting", "dtype"), each_with(DTYPES))
def test_base_at_weight_zero(setting: Setting, dtype: torch.dtype) -> None:
    """With every weight at zero the base comes out."""
    (given,) = tensors("random", dtype)
    assert given.base_N is not None
    if setting.method in NEED_BASE:
        merged_N = merge_one(setting.load(), given.base_N, given.experts_EN, setting.knobs(3, weight=0.0))
    else:  # the base is an input like any other
        inputs_EN = torch.cat([given.base_N[None], given.experts_EN])
        knobs = setting.knobs(4, weight=(1.0, 0.0, 0.0, 0.0))
        merged_N = merge_one(setting.load(), None, inputs_EN, knobs)
    assert torch.equal(merged_N, given.base_N)


@pytest.mark.parametrize(("setting", "dtype"), each_with(DTYPES))
def test_order_of_experts(setting: Setting, dtype: torch.dtype) -> None:
    """Listing the experts in another order changes nothing beyond the rounding of sums; with two experts, not
    a bit.
    """
    for experts in (2, 4):
        (given,) = tensors("grid", dtype, experts=experts)
        models = [f"m{e}" for e in range(experts)]
        knobs = setting.knobs(experts)
        merged_N = merge_one(setting.load(), given.base_N, given.experts_EN, knobs, models=models)
        for order in list(itertools.permutations(range(experts)))[1::5]:
            turned_N = merge_one(
                setting.load(),
                given.base_N,
                given.experts_EN[list(order)],
                {k: tuple(v[e] for e in order) if isinstance(v, tuple) else v for k, v in knobs.items()},
                models=[models[e] for e in order],
            )
            if experts == 2:
                assert same_bits(merged_N, turned_N)
            bound = rounding(dtype, experts, scale=max(4.0, float(merged_N.abs().max())))
            assert float((merged_N - turned_N).abs().max()) <= bound


@pytest.mark.parametrize("setting", every_setting())
def test_copies_of_one_expert(setting: Setting) -> None:
    """k copies of one model, as a mean, are that model alone."""
    (given,) = tensors("random", torch.float32, experts=1)
    fixed = {"normalize": True, "weight": 0.7, "density": 0.4}
    alone_N = merge_one(
        setting.load(), given.base_N, given.experts_EN, setting.knobs(1, **fixed), models=["m"]
    )
    copies_N = merge_one(
        setting.load(),
        given.base_N,
        given.experts_EN.repeat(5, 1),
        setting.knobs(5, **fixed),
        models=["m"] * 5,
    )
    assert float((alone_N - copies_N).abs().max()) <= rounding(torch.float32, 5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_density_one_drops_nothing(dtype: torch.dtype) -> None:
    """With nothing dropped DARE is what it feeds: Task Arithmetic or TIES, bit for bit, for any rescale and
    seed.
    """
    (given,) = tensors("random", dtype, experts=4)
    weight = WEIGHTS[:4]
    for dare, plain in (("dare_linear", "task_arithmetic"), ("dare_ties", "ties")):
        for normalize, rescale in itertools.product((False, True), (False, True, "l1", "expectation")):
            method, other = load_method(dare), load_method(plain)
            knobs = resolve(method, 4, weight=weight, normalize=normalize, rescale=rescale, seed=3)
            one_N = merge_one(method, given.base_N, given.experts_EN, knobs)
            knobs = resolve(other, 4, weight=weight, normalize=normalize)
            assert same_bits(one_N, merge_one(other, given.base_N, given.experts_EN, knobs))


def test_equal_weights_are_the_average() -> None:
    """Weights of 1/E make Task Arithmetic the average, as `linear` is; so is TIES where all deltas have one
    sign.
    """
    (given,) = tensors("random", torch.float32, experts=4)
    assert given.base_N is not None
    linear_N = merge_one(
        load_method("linear"), None, given.experts_EN, {"weight": (1.0,) * 4, "normalize": True}
    )
    task = load_method("task_arithmetic")
    task_N = merge_one(task, given.base_N, given.experts_EN, resolve(task, 4, weight=0.25))
    assert float((linear_N - task_N).abs().max()) <= rounding(torch.float32, 4)
    above_EN = given.base_N + (given.experts_EN - given.base_N).abs() + 0.01
    ties = load_method("ties")
    ties_N = merge_one(ties, given.base_N, above_EN, resolve(ties, 4, weight=1.0))
    average_N = above_EN.double().mean(0).float()
    assert float((ties_N - average_N).abs().max()) <= rounding(torch.float32, 4)


def test_model_scope_of_one_tensor_is_tensor_scope() -> None:
    """For a model of a single tensor both trim scopes are the same, bit for bit; for two tensors they are
    not.
    """
    given = tensors("random", torch.float32, sizes=(200, 100))
    given[1] = Given("w1", given[1].base_N, given[1].experts_EN + 0.5)
    for name in NEED_BASE:
        method = load_method(name)
        if method.knob("trim_scope") is None:
            continue
        trim = "trim_density" if method.knob("trim_density") else "density"
        scoped = [
            resolve(method, 3, weight=1.0, trim_scope=scope, **{trim: 0.3}) for scope in ("tensor", "model")
        ]
        one, other = (merge(method, given[:1], knobs) for knobs in scoped)
        assert same_bits(one["w0"], other["w0"])
        one, other = (merge(method, given, knobs) for knobs in scoped)
        assert not torch.equal(one["w0"], other["w0"])
