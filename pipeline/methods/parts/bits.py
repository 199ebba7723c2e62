"""Magnitudes as integers: the bit patterns of |x| and where they lie in a range. No arithmetic on values.

Shape legend: N elements of one block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def magnitude_bits(values_N: Tensor) -> Tensor:
    """|values| as integers that sort like it: int32 patterns of fp32 (fp16, bf16 widened), int64 of fp64.

    Finite numbers come first, then Inf, then NaN. The result is fresh memory.
    """
    import torch

    if values_N.element_size() == 8:
        return torch.bitwise_and(values_N.view(torch.int64), (1 << 63) - 1)
    return torch.bitwise_and(values_N.float().view(torch.int32), 0x7FFFFFFF)


def indices_between(bits_N: Tensor, low: int, high: int) -> Tensor:
    """Indices, ascending, where low <= bits < high, for non-negative int32 or int64 and low < high."""
    import torch

    if bits_N.device.type != "cpu":
        return ((bits_N >= low) & (bits_N < high)).nonzero().view(-1)
    # numpy finds few among many several times faster. Unsigned, a single comparison does for both bounds.
    unsigned = np.uint64 if bits_N.element_size() == 8 else np.uint32
    return torch.from_numpy(np.flatnonzero((bits_N - low).numpy().view(unsigned) < unsigned(high - low)))


def pattern_value(pattern: int, size_bytes: int) -> float:
    """The number with this bit pattern, of 4 (fp32) or 8 bytes (fp64)."""
    if size_bytes == 8:
        return float(np.int64(pattern).view(np.float64))
    return float(np.int32(pattern).view(np.float32))
