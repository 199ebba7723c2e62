"""Odd inputs: a single element, none at all, subnormals, signed zeros, NaN and Inf: each has one outcome."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.methods import CATALOGUE, load_method
from tests.helpers.cases import (
    DTYPES,
    Setting,
    each_with,
    every_method,
    every_setting,
    rounding,
    same_bits,
    tensors,
)
from tests.helpers.driver import merge_one, resolve


@pytest.mark.parametrize("setting", every_setting())
def test_lengths_one_and_zero(setting: Setting) -> None:
    """A tensor of one element is merged like any other, and one of none gives none."""
    reference = import_module(f"tests.helpers.references.{setting.method}")
    knobs, models = setting.knobs(3), ["a", "b", "c"]
    for seed in range(5):
        (given,) = tensors("grid", torch.float32, sizes=(1,), seed=seed)
        assert given.base_N is not None
        merged_N = merge_one(setting.load(), given.base_N, given.experts_EN, knobs, models=models)
        wide = {"w": (given.base_N.double().numpy(), given.experts_EN.double().numpy())}
        expected = reference.merge(wide, knobs, models)["w"]
        assert abs(float(merged_N[0]) - float(expected[0])) <= rounding(torch.float32, 3)
    empty = merge_one(setting.load(), torch.empty(0), torch.empty(3, 0), knobs, models=models)
    assert empty.shape == (0,) and empty.dtype == torch.float32


@pytest.mark.parametrize(("setting", "dtype"), each_with(DTYPES))
def test_broken_entries_stay_where_they_are(setting: Setting, dtype: torch.dtype) -> None:
    """An entry that is NaN or Inf in any input is not finite in the output, dropped or not; every other entry
    is.
    """
    (given,) = tensors("random", dtype, sizes=(200,))
    base_N, experts_EN = given.base_N, given.experts_EN
    assert base_N is not None
    experts_EN[0, 3], experts_EN[1, 77], experts_EN[2, 121] = float("nan"), float("inf"), -float("inf")
    experts_EN[0, 150], experts_EN[1, 150] = float("inf"), -float("inf")
    if setting.method != "linear":
        base_N[199] = float("nan")
    merged_N = merge_one(setting.load(), base_N, experts_EN, setting.knobs(3), cuts=[100])
    expected = ~(experts_EN.isfinite().all(0) & base_N.isfinite())
    assert torch.equal(~merged_N.isfinite(), expected)


@pytest.mark.parametrize("setting", every_setting())
def test_broken_entries_do_not_move_others(setting: Setting) -> None:
    """Where nothing is trimmed by magnitude, a NaN changes no other entry by a bit, whatever is rescaled."""
    trim = "trim_density" if setting.load().knob("trim_density") else "density"
    knobs = setting.knobs(3, **{trim: 1.0, "zero_sign": "positive"})
    (given,) = tensors("random", torch.float32, sizes=(200,))
    assert given.base_N is not None
    given.experts_EN[1, 50] = given.base_N[50]
    merged_N = merge_one(setting.load(), given.base_N, given.experts_EN, knobs)
    given.experts_EN[1, 50] = float("nan")
    broken_N = merge_one(setting.load(), given.base_N, given.experts_EN, knobs)
    assert bool(broken_N[50].isnan())
    others = torch.arange(200) != 50
    assert same_bits(merged_N[others], broken_N[others])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("setting", every_method())
def test_subnormal_deltas_survive(setting: Setting, dtype: torch.dtype) -> None:
    """Deltas below the smallest normal number are merged exactly, not flushed to zero."""
    tiny = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    base_N = torch.zeros(40, dtype=dtype)
    experts_EN = (torch.arange(1, 41, dtype=torch.float64) * tiny).to(dtype).repeat(1, 1)
    merged_N = merge_one(setting.load(), base_N, experts_EN, setting.knobs(1))
    assert torch.equal(merged_N, experts_EN[0])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_subnormal_magnitudes_are_ranked(dtype: torch.dtype) -> None:
    """The trim tells subnormal magnitudes apart: of n ascending ones the last k are kept."""
    tiny = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    experts_EN = (torch.arange(1, 41, dtype=torch.float64) * -tiny).to(dtype).repeat(1, 1)
    method = load_method("ties")
    for density, kept in ((0.25, 10), (0.95, 38), (0.975, 39)):
        knobs = resolve(method, 1, weight=1.0, density=density)
        merged_N = merge_one(method, torch.zeros(40, dtype=dtype), experts_EN, knobs)
        assert merged_N.count_nonzero() == kept
        assert torch.equal(merged_N[40 - kept :], experts_EN[0, 40 - kept :])


@pytest.mark.parametrize("name", CATALOGUE)
def test_zeros_of_either_sign_are_zero(name: str) -> None:
    """A delta of -0.0 and one of +0.0 are the same: nothing moves."""
    base_N = torch.tensor([1.0, -1.0, 0.0, -0.0])
    experts_EN = torch.stack([base_N, base_N, torch.tensor([1.0, -1.0, -0.0, 0.0])])
    method = load_method(name)
    for density in (1.0, 0.5):
        chosen = {"weight": 1.0, "normalize": True, "density": density}
        chosen = {knob: value for knob, value in chosen.items() if method.knob(knob)}
        merged_N = merge_one(method, base_N, experts_EN, resolve(method, 3, **chosen))
        assert torch.equal(merged_N, base_N)


def test_linear_weights_that_cancel_are_refused() -> None:
    """Normalising weights whose sum is zero is an error that names tensor and weights, not a model full of
    NaN.
    """
    method = load_method("linear")
    with pytest.raises(ConfigError) as caught:
        method.check({"weight": (1.0, -1.0), "normalize": True}, "w")
    assert '"w"' in caught.value.where and "-1.0" in caught.value.found and caught.value.hint
    plain = {"weight": (1.0, -1.0), "normalize": False}
    method.check(plain, "w")
    assert torch.equal(merge_one(method, None, torch.ones(2, 4), plain), torch.zeros(4))
