"""What TIES and DARE share once each has said what its experts lose: rounds that settle, the elected mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.kernels.contract import Block, Losses
from pipeline.methods.contract import Knobs, Partial, Round, Scope, Totals
from pipeline.methods.parts import rescaling, selection, signs, weighing


def measure_signs(block: Block, knobs: Knobs, losses: Sequence[Losses], partial: Partial) -> None:
    """Add the block's balance of elected signs to `partial`."""
    signs.measure(block.elected_balance(losses, weighing.weights(knobs, block)), partial)


def settle(
    round_: Round, folded: Partial, density_E: Sequence[float], totals: Totals, scope: Scope
) -> Totals:
    """Totals with what a round found out: thresholds of a trim to these densities, norms, or the majority."""
    if round_ == signs.MAJORITY:
        return signs.settle(folded, totals)
    if round_ == rescaling.NORMS:
        return {**totals, "norms": rescaling.settle(folded)}
    return {**totals, "trim": selection.settle(round_, folded, density_E, totals.get("trim"), scope)}


def recall(round_: Round, kept: Partial, knobs: Knobs, totals: Totals) -> Partial | None:
    """Tie counts of the trim, from the counts of magnitudes near the threshold."""
    return selection.recall(kept, totals["trim"]) if round_ == selection.TIES else None


def elected_mean(block: Block, knobs: Knobs, losses: Sequence[Losses], totals: Totals) -> Any:
    """base + lambda * the elected mean, or with `normalize: false` the elected sum, of the sparse deltas."""
    return block.elected_mean(
        losses,
        weighing.weights(knobs, block),
        normalize=knobs["normalize"],
        factor=knobs["lambda"],
        zero_sign=signs.zero_sign(totals),
    )
