"""Cut = whole, bit for bit: the law that every parallel merge rests on."""

from __future__ import annotations

import random

import pytest
import torch

from tests.helpers.cases import DTYPES, Setting, each_with, every_setting, same_bits, tensors
from tests.helpers.driver import merge

SIZES = (64, 1, 130, 33)


@pytest.mark.parametrize(("setting", "dtype"), each_with(DTYPES))
def test_cut_equals_whole(setting: Setting, dtype: torch.dtype) -> None:
    """Any cut into blocks, folded in any order, gives the same bytes as no cut, for tame and broken inputs
    alike.
    """
    dice = random.Random(f"{setting} {dtype}")
    for kind in ("grid", "wild") if dtype == torch.float32 else ("wild",):
        given = tensors(kind, dtype, sizes=SIZES, seed=dice.randrange(1000))
        whole = merge(setting.load(), given, setting.knobs(3))
        cuts = {
            tensor.name: sorted(dice.choices(range(size + 1), k=dice.randrange(4)))
            for tensor, size in zip(given, SIZES, strict=True)
        }
        cut = merge(setting.load(), given, setting.knobs(3), cuts=cuts, fold_seed=dice.randrange(1000))
        for name, merged_N in whole.items():
            assert same_bits(merged_N, cut[name]), f"{kind}, {name} cut at {cuts[name]}"


@pytest.mark.parametrize(("setting", "dtype"), each_with([torch.float32, torch.bfloat16]))
def test_every_element_alone(setting: Setting, dtype: torch.dtype) -> None:
    """Even blocks of a single element, where nothing is vectorised, give the same bytes as the whole."""
    given = tensors("wild", dtype, sizes=(11, 4), seed=5)
    whole = merge(setting.load(), given, setting.knobs(3))
    cut = merge(setting.load(), given, setting.knobs(3), cuts={"w0": range(1, 11), "w1": range(1, 4)})
    assert all(same_bits(whole[name], cut[name]) for name in whole)


@pytest.mark.parametrize("setting", every_setting())
def test_long_tensors(setting: Setting) -> None:
    """Tensors longer than any internal row or vector, of odd length, cut anywhere, give the same bytes."""
    size = 3 * 8192 + 101
    given = tensors("random", torch.float32, sizes=(size,), seed=9)
    whole = merge(setting.load(), given, setting.knobs(3))["w0"]
    for cuts in ([8192], [1, 8193, 20001]):
        cut = merge(setting.load(), given, setting.knobs(3), cuts={"w0": cuts})["w0"]
        assert same_bits(whole, cut), cuts
