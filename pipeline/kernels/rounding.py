"""Scalars as a floating-point type holds them, without torch. Arrays are rounded elsewhere."""

from __future__ import annotations

import numpy as np


def rounded(value: float, dtype: str) -> float:
    """`value` rounded to the type of that name: a weight of 0.3 is 0.30078125 in bfloat16, as in mergekit.

    The two halves are reached through fp32, as torch does.
    """
    if dtype == "float64":
        return float(value)
    with np.errstate(over="ignore"):
        single = np.float32(value)
        if dtype == "float16":
            return float(np.float16(single))
    if dtype != "bfloat16" or not np.isfinite(single):
        return float(single)
    bits = int(single.view(np.uint32))
    even = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return float(np.uint32(even).view(np.float32))
