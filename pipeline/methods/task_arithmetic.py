"""Task Arithmetic: add the weighted sum of the experts' deltas to the base. Nothing is dropped or elected."""

from __future__ import annotations

from typing import Any

from pipeline.kernels.contract import Block, Losses
from pipeline.methods.contract import Knobs, Method, Partial, Totals, Traits
from pipeline.methods.parts import switches, weighing


def apply(block: Block, knobs: Knobs, totals: Totals, before: Partial) -> Any:
    """base + lambda * sum_e w_e (expert_e - base)."""
    weights = weighing.weights(knobs, block)
    nothing_lost = [Losses()] * len(weights)
    return block.weighted_sum(nothing_lost, weights, weighing.divisor(knobs, block), knobs["lambda"])


METHOD = Method(
    name="task_arithmetic",
    title="Base plus the weighted sum of the experts' deltas",
    source="Ilharco et al., Editing Models with Task Arithmetic, arXiv 2212.04089",
    traits=Traits(base="required", cost_ns=0.5),
    knobs=(
        switches.weight(),
        switches.normalize(default=False),
        switches.factor("factor of the whole sum; 1/E makes it plain averaging", paper=0.4),
    ),
    apply=apply,
    notes=(
        "paper: lambda 0.4 is the middle of what the authors suggest (0.3 to 0.5) without validation data",
        switches.HALF_NOTE,
    ),
)
