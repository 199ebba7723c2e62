"""TIES: trim each expert's delta, elect a sign an entry, average the experts that agree. Never random.

Rounds: the trim's exact thresholds (see parts.selection), then L1 norms if `rescale`, then the majority of
all elected signs if `zero_sign: majority`. With every density at one and `zero_sign: positive` there are
none.
"""

from __future__ import annotations

from typing import Any

from pipeline.kernels.contract import Block, Losses
from pipeline.methods.contract import Knob, Knobs, Method, Partial, Round, Scope, Totals, Traits
from pipeline.methods.parts import rescaling, selection, signs, sparse, switches


def next_round(knobs: Knobs, totals: Totals) -> Round | None:
    """Thresholds, then norms, then the majority sign; only what the knobs ask for."""
    trimming = selection.next_round(knobs["density"], totals.get("trim"))
    if trimming is not None:
        return trimming
    if _needs_norms(knobs) and "norms" not in totals:
        return rescaling.NORMS
    return signs.next_round(knobs, totals)


def passes(knobs: Knobs) -> int:
    """Counting near the thresholds, norms, the majority; only what the knobs ask for."""
    return selection.passes(knobs["density"]) + _needs_norms(knobs) + signs.passes(knobs)


def measure(
    round_: Round, block: Block, knobs: Knobs, totals: Totals, before: Partial, partial: Partial
) -> None:
    """Add the block's counts of magnitudes or ties, its exact norms, or its balance of elected signs."""
    density_E = knobs["density"]
    if selection.owns(round_):
        nothing_lost = [Losses()] * len(density_E)
        selection.measure(round_, block, nothing_lost, density_E, totals.get("trim"), partial)
    elif round_ == rescaling.NORMS:
        losses = _losses(block, knobs, totals, before)
        rescaling.measure(block, selection.slots(density_E), losses, partial)
    else:
        sparse.measure_signs(block, knobs, _losses(block, knobs, totals, before), partial)


def settle(round_: Round, folded: Partial, knobs: Knobs, totals: Totals, scope: Scope) -> Totals:
    """Totals with what the round found out."""
    return sparse.settle(round_, folded, knobs["density"], totals, scope)


def apply(block: Block, knobs: Knobs, totals: Totals, before: Partial) -> Any:
    """base + lambda * elected mean of the trimmed deltas."""
    return sparse.elected_mean(block, knobs, _losses(block, knobs, totals, before), totals)


def _needs_norms(knobs: Knobs) -> bool:
    return bool(knobs["rescale"] and selection.slots(knobs["density"]))


def _losses(block: Block, knobs: Knobs, totals: Totals, before: Partial) -> list[Losses]:
    """The trim of each expert, and the rescaling once norms are known."""
    losses = [Losses()] * len(knobs["density"])
    for slot, expert in enumerate(selection.slots(knobs["density"])):
        norms = totals.get("norms")
        factor = rescaling.factor(norms[slot], block.compute) if norms else 1.0
        losses[expert] = Losses(trim=selection.trim(totals["trim"], slot, before), factor=factor)
    return losses


METHOD = Method(
    name="ties",
    title="Trim, elect signs, merge: the mean of the experts that agree in sign",
    source="Yadav et al., TIES-Merging, arXiv 2306.01708",
    traits=Traits(base="required", cost_ns=2.2),
    knobs=(
        switches.weight(),
        switches.density("share of each delta that is kept, largest magnitudes first", paper=0.2),
        switches.normalize(default=True),
        Knob(
            "rescale",
            "bool",
            "scale what is kept to the L1 norm before the trim",
            default=False,
            in_totals=True,
        ),
        switches.factor(),
        switches.trim_scope(),
        switches.zero_sign(),
    ),
    apply=apply,
    next_round=next_round,
    measure=measure,
    recall=sparse.recall,
    settle=settle,
    scope=switches.scope,
    passes=passes,
    notes=(
        "exactly max(1, int(density * n)) entries are kept, lowest index first among equals; zeros never are",
        "signs are elected on weighted deltas; the divisor is the sum of agreeing weights, 1 where that is 0",
        switches.HALF_NOTE,
    ),
)
