"""The exact L1 norms against Python's fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from pipeline.kernels.limbs import to_float, to_limbs
from pipeline.kernels.plain.exact_sum import norms_
from tests.helpers.cases import DTYPES

UNIT = Fraction(1, 1 << 1074)


def exactly(values_N: Tensor) -> Fraction:
    """Sum of |values| without any rounding."""
    return sum((abs(Fraction(value)) for value in values_N.double().tolist()), Fraction(0))


def spread(dtype: torch.dtype, size: int, seed: int) -> Tensor:
    """Numbers over every exponent that the type has, zeros among them."""
    generator = torch.Generator().manual_seed(seed)
    limits = torch.finfo(dtype)
    low, high = (math.log2(x) for x in (limits.smallest_normal * limits.eps, limits.max))
    exponents = torch.rand(size, generator=generator, dtype=torch.float64) * (high - low - 1) + low
    values_N = torch.exp2(exponents) * torch.randn(size, generator=generator).sign()
    return (values_N * (torch.rand(size, generator=generator) > 0.1)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_no_bit_is_lost(dtype: torch.dtype) -> None:
    """Sums over numbers of all exponents, and over ordinary ones, are the exact sums, before and after a
    mask.
    """
    for seed, size in enumerate((0, 1, 2, 333, 8192, 8193)):
        for values_N in (spread(dtype, size, seed), torch.randn(size).to(dtype)):
            kept_N = (torch.arange(size) * 7 % 3 == 0).to(torch.int32)
            before, after = norms_(values_N.clone(), kept_N)
            assert before * UNIT == exactly(values_N)
            assert after * UNIT == exactly(values_N[kept_N.bool()])


def test_one_small_number_among_large_ones() -> None:
    """A row of the largest mantissas and one number any distance below them loses no bit of either."""
    for distance in range(40):
        values_N = torch.full((8192,), 2.0 - 2**-23)
        values_N[5] = 2.0**-distance * (1 + 2**-23)
        assert norms_(values_N.clone(), torch.ones_like(values_N))[0] * UNIT == exactly(values_N)


def test_largest_rows_are_exact() -> None:
    """Rows full of the largest mantissas, next to the smallest that are summed with them, are exact."""
    values_N = torch.full((3 * 8192,), 2.0 - 2**-23)
    values_N[1::2] *= 2.0**-15
    values_N[5] = 2.0**-16 * (1 + 2**-23)
    assert norms_(values_N.clone(), torch.ones_like(values_N))[0] * UNIT == exactly(values_N)
    assert norms_(values_N * 2.0**127, torch.ones_like(values_N))[0] * UNIT == exactly(values_N * 2.0**127)


def test_broken_entries_are_left_out() -> None:
    """NaN and Inf add nothing to a norm."""
    for dtype in DTYPES:
        values_N = torch.tensor([1.0, float("nan"), -2.0, float("inf"), -float("inf")], dtype=dtype)
        before, after = norms_(values_N.clone(), torch.tensor([1, 1, 0, 1, 1]))
        assert (before * UNIT, after * UNIT) == (3, 1)
        broken_N = torch.full((4,), float("nan"), dtype=dtype)
        assert norms_(broken_N, torch.ones(4)) == (0, 0)


def test_limbs_add_up() -> None:
    """Limbs of parts, added without carrying, stand for the sum of the parts; it is rounded once."""
    parts = [spread(torch.float64, 50, seed) for seed in range(6)]
    sums = [norms_(part_N.clone(), torch.ones(50))[0] for part_N in parts]
    limbs_L = sum(to_limbs([value])[0] for value in sums)
    assert to_float(limbs_L) == float(sum((exactly(part_N) for part_N in parts), Fraction(0)))
    assert to_float(to_limbs([0])[0]) == 0.0
    assert to_float(to_limbs([1])[0]) == 2.0**-1074
    assert to_float(to_limbs([1 << (1074 + 1030)])[0]) == torch.finfo(torch.float64).max
