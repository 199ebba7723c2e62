"""L1 norms as exact integers: mantissas are added per exponent, so neither cut nor order can change a bit.

Shape legend: N elements of one block.

|x| = mantissa * 2^(exponent - bias). Mantissas are small integers; their sums per exponent fit a double
exactly for a block and an int64 for a model. The norm is rounded once, at the very end. NaN and Inf are left
out of the sums: one broken entry must not rescale a whole tensor.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from pipeline.methods.contract import Partial

    _Sums = Callable[[Tensor, Tensor], NDArray[np.int64]]

#: Elements added in one go: 2^26 mantissas below 2^27 stay below 2^53, where doubles are exact integers.
_CHUNK = 1 << 26
_LOW_BITS = 26


def norm_sums(delta_N: Tensor, kept_N: Tensor) -> Partial:
    """Mantissa sums of |delta_N|, apart for entries dropped (kept_N is 0) and kept (1).

    `kept_N` may have any dtype.

    fp16, bf16 and fp32 give {"f32": int64 (2, 256)}, fp64 gives {"f64": int64 (2, 2, 2048)}: its 53-bit
    mantissas are summed in two halves, low first. Index 0 of the first dim is dropped, 1 is kept; the last is
    the biased exponent.
    """
    import torch

    if delta_N.dtype == torch.float64:
        return {"f64": _add_chunks(delta_N, kept_N, _sums_f64, (2, 2, 2048))}
    return {"f32": _add_chunks(delta_N.float(), kept_N, _sums_f32, (2, 256))}


def norms(kind: str, sums: NDArray[np.int64]) -> tuple[float, float]:
    """(L1 norm before the mask, L1 norm after it), each correctly rounded to a double.

    `kind` and `sums` are one item of what `norm_sums` returned, or of the sum of many of them.
    """
    if kind == "f32":
        denominator = 1 << 149
        dropped, kept = (_scaled(row[:255]) for row in sums)
    else:
        denominator = 1 << 1074
        dropped, kept = (_scaled(low[:2047]) + (_scaled(high[:2047]) << _LOW_BITS) for low, high in sums)
    return _quotient(dropped + kept, denominator), _quotient(kept, denominator)


def _scaled(sums: NDArray[np.int64]) -> int:
    """Sum of mantissa sums in units of the smallest subnormal; exponents 0 and 1 share a scale."""
    return sum(int(value) << max(exponent - 1, 0) for exponent, value in enumerate(sums) if value)


def _quotient(numerator: int, denominator: int) -> float:
    try:
        return numerator / denominator
    except OverflowError:  # an L1 norm beyond the largest double
        return sys.float_info.max


def _add_chunks(delta_N: Tensor, kept_N: Tensor, sums: _Sums, shape: tuple[int, ...]) -> NDArray[np.int64]:
    total = np.zeros(shape, np.int64)
    for start in range(0, delta_N.numel(), _CHUNK):
        total += sums(delta_N[start : start + _CHUNK], kept_N[start : start + _CHUNK])
    return total


def _sums_f32(delta_N: Tensor, kept_N: Tensor) -> NDArray[np.int64]:
    import torch

    bits = torch.bitwise_and(delta_N.view(torch.int32), 0x7FFFFFFF)
    bins = torch.bitwise_right_shift(bits, 23)
    mantissa = bits.bitwise_and_(0x7FFFFF).bitwise_or_(bins.sign().bitwise_left_shift_(23))
    bins.bitwise_or_(kept_N.to(torch.int32).bitwise_left_shift(8))
    counted = torch.bincount(bins.long(), weights=mantissa.double(), minlength=512)
    return counted.long().view(2, 256).cpu().numpy()


def _sums_f64(delta_N: Tensor, kept_N: Tensor) -> NDArray[np.int64]:
    import torch

    bits = torch.bitwise_and(delta_N.view(torch.int64), (1 << 63) - 1)
    bins = torch.bitwise_right_shift(bits, 52)
    mantissa = bits.bitwise_and_((1 << 52) - 1).bitwise_or_(bins.sign().bitwise_left_shift_(52))
    bins.bitwise_or_(kept_N.long().bitwise_left_shift_(11))
    halves = (mantissa.bitwise_and((1 << _LOW_BITS) - 1), mantissa.bitwise_right_shift(_LOW_BITS))
    counted = [torch.bincount(bins, weights=half.double(), minlength=4096).long() for half in halves]
    return torch.stack(counted).view(2, 2, 2048).transpose(0, 1).cpu().numpy()
