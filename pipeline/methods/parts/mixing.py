"""From sparse deltas to merged weights: the weighted sum, or the mean over experts that agree with a sign.

Shape legend: E experts, N elements of one block. Sums over experts run in expert order and are kept in fp32
(fp64 for fp64), then rounded to the compute dtype; deltas, weights and products are rounded to the compute
dtype one by one. Never decides which entries survive: that is done before, by the `sparse` function it is
given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.methods.contract import Block, Knobs, Partial, Totals
from pipeline.methods.parts import signs
from pipeline.methods.parts.deltas import accumulator_dtype, add_to_base, delta, rounded, scale_

if TYPE_CHECKING:
    from torch import Tensor

#: (expert, out_N) -> out_N, holding the expert's delta with dropped entries at zero and survivors rescaled.
Sparse = Callable[[int, "Tensor"], "Tensor"]


def dense(block: Block) -> Sparse:
    """Deltas as they are, nothing dropped."""
    return lambda expert, out_N: delta(block, expert, out_N)


def add_weighted_sum(block: Block, knobs: Knobs, sparse: Sparse) -> Tensor:
    """base + lambda * sum_e w_e delta_e; if `normalize`, divided by sum_e w_e first (unless below 1e-8)."""
    import torch

    experts_EN = block.experts_EN
    weights = _weights(knobs, block)
    work_N = torch.empty_like(experts_EN[0])
    total_N = torch.zeros_like(work_N, dtype=accumulator_dtype(work_N.dtype))
    for expert, weight in enumerate(weights):
        total_N.add_(scale_(sparse(expert, work_N), weight))
    mixed_N = total_N.to(work_N.dtype)
    if knobs["normalize"]:
        divisor = rounded(sum(weights), work_N.dtype)
        if abs(divisor) >= 1e-8 and divisor != 1.0:
            mixed_N.div_(divisor)
    return add_to_base(block, scale_(mixed_N, float(knobs["lambda"])))


def weighted_total(block: Block, knobs: Knobs, sparse: Sparse, deltas_EN: Tensor) -> Tensor:
    """sum_e w_e delta_e in the compute dtype, whose sign is elected; the summands are left in `deltas_EN`."""
    import torch

    total_N = torch.zeros_like(deltas_EN[0], dtype=accumulator_dtype(deltas_EN.dtype))
    for expert, weight in enumerate(_weights(knobs, block)):
        total_N.add_(scale_(sparse(expert, deltas_EN[expert]), weight))
    return total_N.to(deltas_EN.dtype)


def count_elected(block: Block, knobs: Knobs, sparse: Sparse) -> Partial:
    """The block's balance of elected signs, for the majority over the whole scope."""
    import torch

    # The summands are not needed again: every row is the same memory.
    rows_EN = torch.empty_like(block.experts_EN[0]).expand_as(block.experts_EN)
    return signs.count(weighted_total(block, knobs, sparse, rows_EN))


def add_elected_mean(block: Block, knobs: Knobs, sparse: Sparse, totals: Totals) -> Tensor:
    """base + lambda * the sum of the weighted deltas that have the elected sign.

    With `normalize` that sum is divided by the sum of the weights that agree, or by 1 where it is zero.
    """
    import torch

    deltas_EN = torch.empty_like(block.experts_EN)
    sign_N = signs.elect(weighted_total(block, knobs, sparse, deltas_EN), totals)
    agreeing_N = torch.zeros_like(sign_N, dtype=accumulator_dtype(sign_N.dtype))
    divisor_N = torch.zeros_like(agreeing_N)
    for expert, weight in enumerate(_weights(knobs, block)):
        # Along the elected direction every agreeing delta is positive; flipping a sign never rounds.
        along_N = deltas_EN[expert].mul_(sign_N).clamp_(min=0)
        agreeing_N.add_(along_N)
        if knobs["normalize"]:
            divisor_N.add_(scale_(along_N.sign_(), weight))
    mixed_N = agreeing_N.to(sign_N.dtype).mul_(sign_N)
    if knobs["normalize"]:
        rounded_N = divisor_N.to(sign_N.dtype)
        mixed_N.div_(rounded_N.add_(rounded_N.clone().eq_(0)))
    return add_to_base(block, scale_(mixed_N, float(knobs["lambda"])))


def _weights(knobs: Knobs, block: Block) -> list[float]:
    return [rounded(weight, block.experts_EN.dtype) for weight in knobs["weight"]]
