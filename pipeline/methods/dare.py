"""DARE: drop entries of each delta at random, rescale the rest, then merge as Task Arithmetic or TIES do.

Whether an entry survives is a hash of seed, model, tensor and index (see kernels.keys), so no generator is
touched and no cut matters. Rounds: L1 norms if `rescale` matches them, then the thresholds of an optional
magnitude trim of what survived, then (dare_ties) the majority of all elected signs if `zero_sign: majority`.
With `rescale: expectation` and no trim there are none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipeline.kernels.contract import Block, Drop, Losses
from pipeline.kernels.keys import stream_key
from pipeline.methods.contract import Knob, Knobs, Method, Partial, Round, Scope, Totals, Traits
from pipeline.methods.parts import rescaling, selection, signs, sparse, switches, weighing


def next_round_linear(knobs: Knobs, totals: Totals) -> Round | None:
    """Norms, then the trim's thresholds; only what the knobs ask for."""
    if _needs_norms(knobs) and "norms" not in totals:
        return rescaling.NORMS
    return selection.next_round(_trim_density(knobs), totals.get("trim"))


def next_round_ties(knobs: Knobs, totals: Totals) -> Round | None:
    """The same, then the majority sign."""
    return next_round_linear(knobs, totals) or signs.next_round(knobs, totals)


def passes_linear(knobs: Knobs) -> int:
    """Norms and counting near the thresholds; only what the knobs ask for."""
    return _needs_norms(knobs) + selection.passes(_trim_density(knobs))


def passes_ties(knobs: Knobs) -> int:
    """The same, and the majority sign."""
    return passes_linear(knobs) + signs.passes(knobs)


def measure(
    round_: Round, block: Block, knobs: Knobs, totals: Totals, before: Partial, partial: Partial
) -> None:
    """Add the block's exact norms, counts of magnitudes or ties, or its balance of elected signs."""
    if selection.owns(round_):
        trim = totals.get("trim")
        selection.measure(round_, block, _drops(block, knobs), _trim_density(knobs), trim, partial)
    elif round_ == rescaling.NORMS:
        rescaling.measure(block, selection.slots(knobs["density"]), _drops(block, knobs), partial)
    else:
        sparse.measure_signs(block, knobs, _losses(block, knobs, totals, before), partial)


def settle(round_: Round, folded: Partial, knobs: Knobs, totals: Totals, scope: Scope) -> Totals:
    """Totals with what the round found out."""
    return sparse.settle(round_, folded, _trim_density(knobs), totals, scope)


def apply_linear(block: Block, knobs: Knobs, totals: Totals, before: Partial) -> Any:
    """base + lambda * weighted sum of the sparse deltas."""
    weights = weighing.weights(knobs, block)
    losses = _losses(block, knobs, totals, before)
    return block.weighted_sum(losses, weights, weighing.divisor(knobs, block), knobs["lambda"])


def apply_ties(block: Block, knobs: Knobs, totals: Totals, before: Partial) -> Any:
    """base + lambda * elected sum of the sparse deltas."""
    return sparse.elected_mean(block, knobs, _losses(block, knobs, totals, before), totals)


def _needs_norms(knobs: Knobs) -> bool:
    return bool(knobs["rescale"] in (True, "l1") and selection.slots(knobs["density"]))


def _trim_density(knobs: Knobs) -> list[float]:
    return [knobs["trim_density"]] * len(knobs["density"])


def _drops(block: Block, knobs: Knobs) -> list[Losses]:
    """The random drop of each expert whose density is below one."""
    return [
        Losses(Drop(stream_key(knobs["seed"], model, block.tensor), density) if density < 1 else None)
        for model, density in zip(block.models, knobs["density"], strict=True)
    ]


def _losses(block: Block, knobs: Knobs, totals: Totals, before: Partial) -> list[Losses]:
    """The drop, the trim of what survived, and the factor that makes up for the drop."""
    losses = _drops(block, knobs)
    if knobs["trim_density"] < 1:
        # Every expert is trimmed, so its slot in the selection is its own number.
        trims = [selection.trim(totals["trim"], expert, before) for expert in range(len(losses))]
        losses = [replace(loss, trim=trim) for loss, trim in zip(losses, trims, strict=True)]
    for slot, expert in enumerate(selection.slots(knobs["density"])):
        losses[expert] = replace(losses[expert], factor=_factor(knobs, totals, expert, slot, block.compute))
    return losses


def _factor(knobs: Knobs, totals: Totals, expert: int, slot: int, compute: str) -> float:
    density, rescale = knobs["density"][expert], knobs["rescale"]
    if not rescale or density <= 0:
        return 1.0
    if rescale == "expectation":
        return 1.0 / float(density)
    return rescaling.factor(totals["norms"][slot], compute)


def _knobs(*, ties: bool) -> tuple[Knob, ...]:
    always = (
        switches.weight(),
        switches.density("share of each delta that survives at random; the paper tries 0.9 down to 0.1"),
        switches.normalize(default=False, paper=True if ties else None),
        Knob(
            "rescale",
            "choice",
            "scale survivors by 1/density (expectation), or to the L1 norm before the drop (l1, as true)",
            default=True,
            paper="expectation",
            choices=(False, True, "l1", "expectation"),
            in_totals=True,
        ),
        switches.factor(),
        Knob("seed", "int", "which entries are dropped", default=0, per_tensor=False),
        Knob(
            "trim_density",
            "float",
            "share of each delta kept by magnitude after the random drop; 1 keeps all",
            default=1.0,
            paper=0.2 if ties else None,
            low=0.0,
            high=1.0,
            in_totals=True,
        ),
        switches.trim_scope(),
    )
    return (*always, switches.zero_sign()) if ties else always


_NOTES = (
    "what survives is a hash of seed, model, tensor name and index: equal for any cut and any workers",
    "a model listed twice loses the same entries twice",
    switches.HALF_NOTE,
)

LINEAR = Method(
    name="dare_linear",
    title="Drop deltas at random and rescale, then add their weighted sum to the base",
    source="Yu et al., Language Models are Super Mario (DARE), arXiv 2311.03099",
    traits=Traits(base="required", cost_ns=3.0),
    knobs=_knobs(ties=False),
    apply=apply_linear,
    next_round=next_round_linear,
    measure=measure,
    recall=sparse.recall,
    settle=settle,
    scope=switches.scope,
    passes=passes_linear,
    notes=_NOTES,
)

TIES = Method(
    name="dare_ties",
    title="Drop deltas at random and rescale, then elect signs and merge those that agree",
    source="Yu et al., Language Models are Super Mario (DARE), arXiv 2311.03099; TIES, arXiv 2306.01708",
    traits=Traits(base="required", cost_ns=3.5),
    knobs=_knobs(ties=True),
    apply=apply_ties,
    next_round=next_round_ties,
    measure=measure,
    recall=sparse.recall,
    settle=settle,
    scope=switches.scope,
    passes=passes_ties,
    notes=_NOTES,
)
