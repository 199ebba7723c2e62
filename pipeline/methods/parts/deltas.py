"""Deltas, accumulators and rounding: the element-wise arithmetic under every method. Never sums over N.

Shape legend: E experts, N elements of one block.

Everything here is one correctly rounded operation at a time. Fused multiply-add (`add` with `alpha`,
`addcmul`, `lerp`) is left alone on purpose: torch may fuse in the vectorised middle of an array and not in
its tail, and then a result would depend on where a tensor was cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.methods.contract import Block


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type in which sums over experts are kept: fp64 for fp64, fp32 for everything else."""
    import torch

    return torch.promote_types(dtype, torch.float32)


def rounded(value: float, dtype: torch.dtype) -> float:
    """`value` as `dtype` holds it: a weight of 0.3 is 0.30078125 in bfloat16, as in mergekit."""
    import torch

    return float(torch.tensor(value, dtype=torch.float64).to(dtype))


def delta(block: Block, expert: int, out_N: Tensor) -> Tensor:
    """Expert minus base, rounded to the compute dtype, written to `out_N` and returned."""
    import torch

    assert block.base_N is not None, "the planner gives a base to every method that requires one"
    return torch.sub(block.experts_EN[expert], block.base_N, out=out_N)


def scale_(values_N: Tensor, factor: float) -> Tensor:
    """Multiply in place; a factor of one, which changes no bit, costs nothing."""
    return values_N if factor == 1.0 else values_N.mul_(factor)


def add_to_base(block: Block, mixed_N: Tensor) -> Tensor:
    """base + `mixed_N` in the compute dtype; `mixed_N`'s memory is used up."""
    assert block.base_N is not None
    return canonical_nan_(mixed_N.add_(block.base_N))


def canonical_nan_(values_N: Tensor) -> Tensor:
    """Give every NaN in a float tensor the one standard bit pattern, in place, and return the tensor.

    The sign and payload of a NaN depend on whether an element was computed in the vectorised middle of an
    array or in its tail. They are also lost and found in casts, so whoever casts a result calls this again.
    """
    import torch

    # A sum with a NaN in it is never finite, whatever its order; an overflow only costs the second look.
    if bool(values_N.sum(dtype=accumulator_dtype(values_N.dtype)).isfinite()):
        return values_N
    return values_N.masked_fill_(torch.isnan(values_N), float("nan"))
