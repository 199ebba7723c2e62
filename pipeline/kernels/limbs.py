"""Sums of floats as exact integers: how they travel and how they become a number again. Pure integers.

Shape legend: L limbs of an integer.

A sum of |x| is an integer in units of 2^-1074, the smallest double. It travels as limbs of 32 bits in int64,
which can be added 2^31 times before they overflow, and is rounded once, when the norm is wanted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LIMBS = 68  # 2^-1074 to 2^1024, with room for 2^64 summands
UNIT_EXPONENT = -1074
_LIMB_BITS = 32


def to_limbs(values: Sequence[int]) -> NDArray[np.int64]:
    """Non-negative integers as limbs, lowest first, shape (len(values), L)."""
    data = b"".join(value.to_bytes(LIMBS * _LIMB_BITS // 8, "little") for value in values)
    return np.frombuffer(data, "<u4").reshape(len(values), LIMBS).astype(np.int64)


def to_float(limbs_L: NDArray[np.int64]) -> float:
    """The number that (added-up) limbs stand for, correctly rounded."""
    units = sum(int(limb) << (_LIMB_BITS * i) for i, limb in enumerate(limbs_L))
    try:
        return units / (1 << -UNIT_EXPONENT)
    except OverflowError:  # a norm beyond the largest double
        return sys.float_info.max
