"""Counting what is not finite in stored bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.kernels.nonfinite import count_nonfinite, nonfinite_mask
from pipeline.values import DTYPES

FLOATS = [dtype for dtype in DTYPES.values() if dtype.is_float]


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("begins", [0, 1, 3])
def test_the_count_is_torchs_for_any_bits(begins: int, dtype: object) -> None:
    """For bit patterns of every kind, at any address, the count and the mask are those of torch.isfinite."""
    assert isinstance(dtype, type(FLOATS[0]))
    dice = np.random.default_rng(begins)
    for numel in (0, 1, 2, 1000):
        for _ in range(20):
            held = np.frombuffer(dice.bytes(begins + numel * dtype.size_bytes), np.uint8).copy()
            raw = held[begins:]
            stored = (
                torch.frombuffer(bytearray(raw.tobytes()), dtype=getattr(torch, dtype.name))
                if numel
                else None
            )
            finite = stored.isfinite() if stored is not None else torch.empty(0, dtype=torch.bool)
            assert count_nonfinite(raw, dtype.name) == int((~finite).sum())
            assert np.array_equal(nonfinite_mask(raw, dtype.name), ~finite.numpy())


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
def test_the_largest_finite_numbers_are_finite(dtype: object) -> None:
    """The border is exact: the largest numbers of either sign and -0 are finite; an Inf or a NaN of either
    sign, alone among them, counts one.
    """
    assert isinstance(dtype, type(FLOATS[0]))
    kind = getattr(torch, dtype.name)
    largest = torch.finfo(kind).max
    tame = torch.tensor([largest, -largest, 0.0, -0.0, torch.finfo(kind).tiny], dtype=kind)
    assert count_nonfinite(tame.view(torch.uint8).numpy(), dtype.name) == 0
    for odd in (float("inf"), -float("inf"), float("nan"), -float("nan")):
        broken = torch.cat([tame, torch.tensor([odd], dtype=kind)])
        assert count_nonfinite(broken.view(torch.uint8).numpy(), dtype.name) == 1
