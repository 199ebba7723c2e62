"""L1 norms as exact integers, so that neither the cut nor the order of a sum can change a bit. No rounded
sums.

Shape legend: N elements of one block, R rows of a block.

Sums are integers in units of 2^-1074 (see `kernels.limbs`). NaN and Inf are left out: one broken entry must
not rescale a whole tensor.

fp32 sums are exact in fp64 as long as the numbers are not too far apart: 2^13 numbers of 24 bits fit 53 bits
when the largest is less than 2^16 times the smallest. Rows of that length are summed by plain fp64 addition;
the few entries that are smaller are summed by exponent, as all entries of fp64 are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.kernels.limbs import UNIT_EXPONENT
from pipeline.kernels.plain.bits import indices_between, magnitude_bits_

_ROW = 1 << 13
_SPAN = 53 - 24 - 13
#: Elements summed by exponent in one go: 2^26 numbers below 2^27 stay below 2^53, where doubles are exact
# integers.
_CHUNK = 1 << 26
_INF_F32 = 0x7F800000


def norms_(values_N: Tensor, kept_N: Tensor) -> tuple[int, int]:
    """Exact sums of |values|, and of |values| where `kept_N` is 1, in units of 2^-1074.

    `kept_N` is 0 elsewhere and may have any dtype. Uses up the memory of `values_N`.
    """
    bits_N = magnitude_bits_(values_N)
    if bits_N.element_size() == 8:
        return _by_exponent(bits_N), _by_exponent(bits_N * kept_N.to(bits_N.dtype))
    largest = int(bits_N.max()) if bits_N.numel() else 0
    if largest >= _INF_F32:
        bits_N.mul_(bits_N < _INF_F32)
        largest = int(bits_N.max())
    # The span is counted in binades; all subnormals share the first one.
    cut = max((largest >> 23) - _SPAN + 1, 0) << 23
    small = _small_sums(bits_N, kept_N, cut) if cut else (0, 0)
    magnitude_N = bits_N.view(torch.float32)
    before = _by_rows(magnitude_N, cut)
    after = _by_rows(magnitude_N.mul_(kept_N), cut)
    return small[0] + before, small[1] + after


def _small_sums(bits_N: Tensor, kept_N: Tensor, cut: int) -> tuple[int, int]:
    """Sums of the entries below the cut, which are then set to zero in `bits_N`."""
    small = indices_between(bits_N, 1, cut)
    if small.numel() == 0:
        return 0, 0
    wide = magnitude_bits_(bits_N[small].view(torch.float32).double())
    bits_N[small] = 0
    return _by_exponent(wide), _by_exponent(wide * kept_N[small].long())


def _by_rows(magnitude_N: Tensor, cut: int) -> int:
    """Sum of fp32 magnitudes that are zero or within the span above the cut (a bit pattern)."""
    whole = magnitude_N.numel() // _ROW * _ROW
    sums_R = magnitude_N[:whole].view(-1, _ROW).sum(1, dtype=torch.float64)
    rest = magnitude_N[whole:].sum(dtype=torch.float64)
    exponent = max(cut >> 23, 1) - 150  # of the last mantissa bit of the smallest entry
    units_R = sums_R.mul_(2.0**-exponent).long().tolist()
    units = int(sum(units_R)) + int(rest.mul_(2.0**-exponent))
    return units << (exponent - UNIT_EXPONENT)


def _by_exponent(bits_N: Tensor) -> int:
    """Sum of fp64 numbers given as bit patterns, without NaN and Inf: mantissa halves, added by exponent."""
    total = 0
    for start in range(0, bits_N.numel(), _CHUNK):
        bits_C = bits_N[start : start + _CHUNK]
        exponents = bits_C >> 52
        mantissas = (bits_C & ((1 << 52) - 1)) | (exponents.sign() << 52)
        for shift, part in ((0, mantissas & ((1 << 26) - 1)), (26, mantissas >> 26)):
            sums = torch.bincount(exponents, weights=part.double(), minlength=2048)[:2047].long()
            present = sums.nonzero().view(-1)
            for exponent, value in zip(present.tolist(), sums[present].tolist(), strict=True):
                total += value << (max(exponent - 1, 0) + shift)
    return total
