"""TIES: trim each expert's delta, elect a sign an entry, average the experts that agree. Never random.

Shape legend: E experts, N elements of one block.

Rounds: the trim's exact thresholds (see parts.selection), then L1 norms if `rescale`, then the majority of
all elected signs if `zero_sign: majority`. With every density at one and `zero_sign: positive` there are
none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.methods.contract import Block, Knob, Knobs, Method, Partial, Round, Scope, Totals, Traits
from pipeline.methods.parts import exact_sum, mixing, rescaling, selection, signs, switches
from pipeline.methods.parts.deltas import delta, scale_

if TYPE_CHECKING:
    from torch import Tensor


def next_round(knobs: Knobs, totals: Totals) -> Round | None:
    """Thresholds, then norms, then the majority sign; only what the knobs ask for."""
    trimming = selection.next_round(knobs["density"], totals.get("trim"))
    if trimming is not None:
        return trimming
    if knobs["rescale"] and selection.slots(knobs["density"]) and "norms" not in totals:
        return rescaling.NORMS
    return signs.next_round(knobs, totals)


def measure(round_: Round, block: Block, knobs: Knobs, totals: Totals, before: Partial) -> Partial:
    """The block's digit counts, tie counts, exact norms, or balance of elected signs."""
    import torch

    density_E, trim = knobs["density"], totals.get("trim")
    if round_ == signs.MAJORITY:
        return mixing.count_elected(block, knobs, _sparse(block, knobs, totals, before))
    delta_N = torch.empty_like(block.experts_EN[0])
    if selection.owns(round_):
        return selection.measure(round_, lambda expert: delta(block, expert, delta_N), density_E, trim)
    assert trim is not None
    kept_N = torch.empty_like(delta_N)
    sums = []
    for slot, expert in enumerate(selection.slots(density_E)):
        selection.keep_(delta(block, expert, delta_N), trim, slot, before, kept_N)
        sums.append(exact_sum.norms_(delta_N, kept_N))
    return rescaling.stack(sums)


def settle(round_: Round, folded: Partial, knobs: Knobs, totals: Totals, scope: Scope) -> Totals:
    """Totals with what the round found out."""
    if round_ == signs.MAJORITY:
        return signs.settle(folded, totals)
    if round_ == rescaling.NORMS:
        return {**totals, "norms": rescaling.settle(folded)}
    trim = selection.settle(round_, folded, knobs["density"], totals.get("trim"), scope)
    return {**totals, "trim": trim}


def apply(block: Block, knobs: Knobs, totals: Totals, before: Partial) -> Tensor:
    """base + lambda * elected mean of the trimmed deltas. Shape (N,), in the compute dtype."""
    return mixing.add_elected_mean(block, knobs, _sparse(block, knobs, totals, before), totals)


def _sparse(block: Block, knobs: Knobs, totals: Totals, before: Partial) -> mixing.Sparse:
    """Trimmed and rescaled deltas."""
    import torch

    scratch_N = torch.empty_like(block.experts_EN[0])
    slot_of = {expert: slot for slot, expert in enumerate(selection.slots(knobs["density"]))}

    def sparse(expert: int, out_N: Tensor) -> Tensor:
        delta(block, expert, out_N)
        if (slot := slot_of.get(expert)) is not None:
            selection.trim_(out_N, totals["trim"], slot, before, scratch_N)
            if knobs["rescale"]:
                scale_(out_N, rescaling.factor(totals["norms"][slot], out_N.dtype))
        return out_N

    return sparse


METHOD = Method(
    name="ties",
    title="Trim, elect signs, merge: the mean of the experts that agree in sign",
    source="Yadav et al., TIES-Merging, arXiv 2306.01708",
    traits=Traits(base="required", cost_ns=9.0),
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
    settle=settle,
    scope=switches.scope,
    notes=(
        "exactly max(1, int(density * n)) entries are kept, lowest index first among equals; zeros never are",
        "signs are elected on weighted deltas; the divisor is the sum of agreeing weights, 1 where that is 0",
        switches.HALF_NOTE,
    ),
)
