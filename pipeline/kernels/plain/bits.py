"""Magnitudes as integers: the bit patterns of |x|, and which of them lie in a range. No arithmetic on values.

A trailing underscore, as in torch, marks a function that uses up or changes its argument.

Shape legend: N elements of one block.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def magnitude_bits_(values_N: Tensor) -> Tensor:
    """|values| as integers that sort like it: int32 patterns of fp32 (fp16, bf16 widened), int64 of fp64.

    Finite numbers come first, then Inf, then NaN. Uses up the memory of `values_N`.
    """
    if values_N.element_size() == 8:
        return values_N.view(torch.int64).bitwise_and_((1 << 63) - 1)
    return values_N.float().view(torch.int32).bitwise_and_(0x7FFFFFFF)


def indices_between(bits_N: Tensor, low: int, high: int) -> Tensor:
    """Indices, ascending, where low <= bits < high, for non-negative int32 or int64 and low < high.

    `bits_N` is shifted in place meanwhile, and as it was on return.
    """
    if bits_N.device.type != "cpu":
        return ((bits_N >= low) & (bits_N <= high - 1)).nonzero().view(-1)
    # numpy finds few among many several times faster. Unsigned, a single comparison does for both bounds.
    unsigned = np.uint64 if bits_N.element_size() == 8 else np.uint32
    found = np.flatnonzero(bits_N.sub_(low).numpy().view(unsigned) < unsigned(high - low))
    bits_N.add_(low)
    return torch.from_numpy(found)
