"""DARE: drop entries of each delta at random, rescale the rest, then merge as Task Arithmetic or TIES do.

Shape legend: E experts, N elements of one block.

Whether an entry survives is a hash of seed, model, tensor and index (see parts.masks), so no generator is
touched and no cut matters. Rounds: L1 norms if `rescale` matches them, then the thresholds of an optional
magnitude trim of what survived, then (dare_ties) the majority of all elected signs if `zero_sign: majority`.
With `rescale: expectation` and no trim there are none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.methods.contract import Block, Knob, Knobs, Method, Partial, Round, Scope, Totals, Traits
from pipeline.methods.parts import exact_sum, masks, mixing, rescaling, selection, signs, switches
from pipeline.methods.parts.deltas import delta, scale_

if TYPE_CHECKING:
    from torch import Tensor


def next_round_linear(knobs: Knobs, totals: Totals) -> Round | None:
    """Norms, then the trim's thresholds; only what the knobs ask for."""
    if knobs["rescale"] in (True, "l1") and selection.slots(knobs["density"]) and "norms" not in totals:
        return rescaling.NORMS
    return selection.next_round(_trim_density(knobs), totals.get("trim"))


def next_round_ties(knobs: Knobs, totals: Totals) -> Round | None:
    """The same, then the majority sign."""
    return next_round_linear(knobs, totals) or signs.next_round(knobs, totals)


def measure(round_: Round, block: Block, knobs: Knobs, totals: Totals, before: Partial) -> Partial:
    """The block's exact norms, digit counts, tie counts, or balance of elected signs."""
    import torch

    sparse = _Sparse(block, knobs, totals, before)
    if round_ == signs.MAJORITY:
        return mixing.count_elected(block, knobs, sparse)
    delta_N = torch.empty_like(block.experts_EN[0])
    if selection.owns(round_):
        return selection.measure(
            round_, lambda expert: sparse.drop(expert, delta_N), _trim_density(knobs), totals.get("trim")
        )
    experts = selection.slots(knobs["density"])
    return rescaling.stack(
        [exact_sum.norms_(delta(block, expert, delta_N), sparse.survivors(expert)) for expert in experts]
    )


def settle(round_: Round, folded: Partial, knobs: Knobs, totals: Totals, scope: Scope) -> Totals:
    """Totals with what the round found out."""
    if round_ == signs.MAJORITY:
        return signs.settle(folded, totals)
    if round_ == rescaling.NORMS:
        return {**totals, "norms": rescaling.settle(folded)}
    trim = selection.settle(round_, folded, _trim_density(knobs), totals.get("trim"), scope)
    return {**totals, "trim": trim}


def apply_linear(block: Block, knobs: Knobs, totals: Totals, before: Partial) -> Tensor:
    """base + lambda * weighted sum of the sparse deltas. Shape (N,), in the compute dtype."""
    return mixing.add_weighted_sum(block, knobs, _Sparse(block, knobs, totals, before))


def apply_ties(block: Block, knobs: Knobs, totals: Totals, before: Partial) -> Tensor:
    """base + lambda * elected sum of the sparse deltas. Shape (N,), in the compute dtype."""
    return mixing.add_elected_mean(block, knobs, _Sparse(block, knobs, totals, before), totals)


def _trim_density(knobs: Knobs) -> list[float]:
    return [knobs["trim_density"]] * len(knobs["density"])


class _Sparse:
    """Deltas with their random losses, the magnitude trim, and what survives scaled up: a `mixing.Sparse`."""

    def __init__(self, block: Block, knobs: Knobs, totals: Totals, before: Partial) -> None:
        import torch

        self._block, self._knobs, self._totals, self._before = block, knobs, totals, before
        self._scratch_N = torch.empty_like(block.experts_EN[0])
        self._slot_of = {expert: slot for slot, expert in enumerate(selection.slots(knobs["density"]))}
        if self._slot_of:
            self._draws = masks.Draws(block.start, self._scratch_N.numel(), self._scratch_N.device)

    def survivors(self, expert: int) -> Tensor:
        """1 where the entry is kept, 0 where it is dropped: int32, shape (N,), valid until the next call."""
        key = masks.stream_key(self._knobs["seed"], self._block.models[expert], self._block.tensor)
        return self._draws.keep(key, self._knobs["density"][expert])

    def drop(self, expert: int, out_N: Tensor) -> Tensor:
        """The expert's delta, dropped entries at zero. A dropped NaN or Inf becomes NaN: it is not hidden."""
        delta(self._block, expert, out_N)
        if expert in self._slot_of:
            out_N.mul_(self.survivors(expert))
        return out_N

    def __call__(self, expert: int, out_N: Tensor) -> Tensor:
        """The expert's sparse delta."""
        self.drop(expert, out_N)
        if self._knobs["trim_density"] < 1:
            # Every expert is trimmed, so its slot in the selection is its own number.
            trim = self._totals["trim"]
            selection.trim_(out_N, trim, expert, self._before, self._scratch_N)
        return scale_(out_N, self._factor(expert))

    def _factor(self, expert: int) -> float:
        density, rescale = self._knobs["density"][expert], self._knobs["rescale"]
        if expert not in self._slot_of or not rescale or density <= 0:
            return 1.0
        if rescale == "expectation":
            return 1.0 / float(density)
        return rescaling.factor(self._totals["norms"][self._slot_of[expert]], self._scratch_N.dtype)


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
    traits=Traits(base="required", cost_ns=9.0),
    knobs=_knobs(ties=False),
    apply=apply_linear,
    next_round=next_round_linear,
    measure=measure,
    settle=settle,
    scope=switches.scope,
    notes=_NOTES,
)

TIES = Method(
    name="dare_ties",
    title="Drop deltas at random and rescale, then elect signs and merge those that agree",
    source="Yu et al., Language Models are Super Mario (DARE), arXiv 2311.03099; TIES, arXiv 2306.01708",
    traits=Traits(base="required", cost_ns=11.0),
    knobs=_knobs(ties=True),
    apply=apply_ties,
    next_round=next_round_ties,
    measure=measure,
    settle=settle,
    scope=switches.scope,
    notes=_NOTES,
)
