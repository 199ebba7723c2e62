"""Torch types, deltas and rounding: the element-wise arithmetic under every primitive. Never sums over N.

Shape legend: N elements of one block.

Everything here is one correctly rounded operation at a time. Fused multiply-add (`add` with `alpha`,
`addcmul`, `lerp`) is left alone on purpose: torch may fuse in the vectorised middle of an array and not in
its tail, and then a result would depend on where a tensor was cut.
"""

from __future__ import annotations

import torch
from torch import Tensor


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type in which sums over experts are kept: fp64 for fp64, fp32 for everything else."""
    return torch.promote_types(dtype, torch.float32)


def scale_(values_N: Tensor, factor: float) -> Tensor:
    """Multiply in place; a factor of one, which changes no bit, costs nothing."""
    return values_N if factor == 1.0 else values_N.mul_(factor)


def divide_(values_N: Tensor, divisor: float) -> Tensor:
    """Divide in place, correctly rounded; by one costs nothing."""
    if divisor == 1.0:
        return values_N
    # On a GPU torch multiplies by the reciprocal of a number, but divides by a tensor.
    by = torch.tensor(divisor, dtype=values_N.dtype, device="cuda") if values_N.is_cuda else divisor
    return values_N.div_(by)


def canonical_nan_(values_N: Tensor) -> Tensor:
    """Give every NaN in a float tensor the one standard bit pattern, in place, and return the tensor.

    The sign and payload of a NaN depend on whether an element was computed in the vectorised middle of an
    array or in its tail. They are also lost and found in casts, so whoever casts a result calls this again.
    """
    # A sum with a NaN in it is never finite, whatever its order; an overflow only costs the second look.
    if bool(values_N.sum(dtype=accumulator_dtype(values_N.dtype)).isfinite()):
        return values_N
    return values_N.masked_fill_(torch.isnan(values_N), float("nan"))
