"""Rounds over the groups that must be measured before they are merged: order, fold, settle, until nothing is
left to ask.

The driver's side of measure -> fold -> settle: it adds integers and never sees a weight.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.fold import exclusive_scan, fold, unpack
from pipeline.methods import load_method
from pipeline.methods.contract import Method, Partial, Round, Scope, Totals
from pipeline.plan.plan import Group, MergePlan, Piece, UnitPlan
from pipeline.staging import Staging
from pipeline.work.orders import PieceOrder, UnitOrder

RunUnits = Callable[[Sequence[tuple[UnitPlan, UnitOrder]], str], Iterator[tuple[str, dict[str, Any]]]]
"""Runs measuring orders under a label; yields (order id, result) as they finish."""


@dataclass
class Settled:
    """What is known about one group: totals, scan rounds done, the round whose partials are kept by piece,
    and the running sums before each piece.
    """

    totals: Totals = field(default_factory=dict)
    scans: tuple[Round, ...] = ()
    kept: Round | None = None
    sums: dict[tuple[int, int], Partial] = field(default_factory=dict)

    def before(self, piece: Piece) -> Partial:
        """The scan rounds' sum over all pieces that precede this one in the group."""
        return self.sums.get((piece.tensor, piece.start), {})


@dataclass
class _Measured:
    """What one round has measured of one group: the sum of all partials, and a scan's own by piece."""

    folded: Partial = field(default_factory=dict)
    by_piece: dict[str, Partial] = field(default_factory=dict)

    def take(self, partials: Mapping[str, Partial], scan: bool) -> None:
        """Add one unit's partials; only sums are held, unless each piece's own will be asked for."""
        for key, partial in partials.items():
            self.folded = fold(self.folded, partial) if self.folded else partial
            if scan:
                self.by_piece[key] = partial


def settle_groups(plan: MergePlan, staging: Staging, run_units: RunUnits) -> dict[int, Settled]:
    """Run every group's rounds, all groups at once, and return what was settled by group number.

    A measuring unit that an earlier run finished is read from the work directory instead of being run again.
    """
    method = load_method(plan.config.merge_method)
    settled = {number: Settled() for number in range(len(plan.groups))}
    while True:
        asking = {
            number: round_
            for number, known in settled.items()
            if (round_ := method.next_round(plan.groups[number].knobs, known.totals)) is not None
        }
        if not asking:
            return settled
        measured = {
            number: recalled
            for number, round_ in asking.items()
            if (recalled := _recall(plan, staging, method, number, settled[number], round_)) is not None
        }
        open_ = {number: round_ for number, round_ in asking.items() if number not in measured}
        if open_:
            measured |= _measure(plan, staging, run_units, settled, open_)
        for number, round_ in asking.items():
            known, group = settled[number], plan.groups[number]
            known.kept = round_ if round_.keep else known.kept
            if round_.scan:
                _note_sums(plan, group, known, measured[number])
                known.scans = (*known.scans, round_)
            scope = Scope(group.numel)
            folded = measured[number].folded
            known.totals = method.settle(round_, folded, group.knobs, known.totals, scope)


def _measure(
    plan: MergePlan,
    staging: Staging,
    run_units: RunUnits,
    settled: Mapping[int, Settled],
    asking: Mapping[int, Round],
) -> dict[int, _Measured]:
    """One round of every group that asks for one; results are folded as they come and kept for a resume."""
    measured = {number: _Measured() for number in asking}
    todo: list[tuple[UnitPlan, UnitOrder]] = []
    group_of: dict[str, int] = {}
    for unit in plan.units:
        if unit.group is None or unit.group not in asking:
            continue
        order = _order(plan, staging, unit, settled[unit.group], asking[unit.group])
        held = staging.load_partials(order.id)
        if held is None:
            todo.append((unit, order))
            group_of[order.id] = unit.group
        else:
            measured[unit.group].take(_unpacked(held), asking[unit.group].scan)
    label = "/".join(sorted({round_.name for round_ in asking.values()}))
    for order_id, value in run_units(todo, f"measuring {label}"):
        text = {key: b64encode(data).decode() for key, data in value["partials"].items()}
        staging.save_partials(order_id, {**value, "partials": text})
        number = group_of[order_id]
        partials = {key: unpack(data) for key, data in value["partials"].items()}
        measured[number].take(partials, asking[number].scan)
    return measured


def _recall(
    plan: MergePlan, staging: Staging, method: Method, number: int, known: Settled, round_: Round
) -> _Measured | None:
    """A round of one group read off the partials that an earlier one left, one unit's at a time; None where
    they do not tell.
    """
    if known.kept is None:
        return None
    measured = _Measured()
    for unit in plan.units:
        if unit.group != number:
            continue
        held = staging.load_partials(_order_id(unit, known.kept))
        assert held is not None, "a round's partials stay until the merge is published"
        for key, kept in _unpacked(held).items():
            partial = method.recall(round_, kept, plan.groups[number].knobs, known.totals)
            if partial is None:
                return None
            measured.take({key: partial}, round_.scan)
    return measured


def _unpacked(held: Mapping[str, Any]) -> dict[str, Partial]:
    """The partials of a measuring unit's result as the work directory holds it."""
    return {key: unpack(b64decode(data)) for key, data in held["partials"].items()}


def _order_id(unit: UnitPlan, round_: Round) -> str:
    return f"{unit.id}-{round_.name}"


def _note_sums(plan: MergePlan, group: Group, known: Settled, measured: _Measured) -> None:
    """Give each piece of the group the sum of a scan's partials over the pieces before it."""
    members = set(group.tensors)
    pieces = sorted(
        (piece for unit in plan.units for piece in unit.pieces if piece.tensor in members),
        key=lambda piece: (piece.tensor, piece.start),
    )
    names = [plan.tensors[piece.tensor].piece_name(piece) for piece in pieces]
    for piece, sums in zip(pieces, exclusive_scan([measured.by_piece[name] for name in names]), strict=True):
        known.sums[piece.tensor, piece.start] = {**known.before(piece), **sums}


def _order(plan: MergePlan, staging: Staging, unit: UnitPlan, known: Settled, round_: Round) -> UnitOrder:
    pieces = tuple(
        PieceOrder(plan.tensors[piece.tensor], piece, known.totals, known.before(piece))
        for piece in unit.pieces
    )
    return UnitOrder(
        id=_order_id(unit, round_),
        method=plan.config.merge_method,
        models=tuple(str(index.ref) for index in plan.experts),
        device=plan.device,
        directory=str(staging.model),
        memory_bytes=0,
        pieces=pieces,
        round=round_,
        scans=known.scans,
    )
