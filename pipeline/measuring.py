"""Rounds over the groups that must be measured before they are merged: order, fold, settle, until nothing is
left to ask.

The driver's side of measure -> fold -> settle: it adds integers and never sees a weight.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.fold import exclusive_scan, fold, fold_into, unpack
from pipeline.checkpoint.files import digest_bytes
from pipeline.methods import load_method
from pipeline.methods.contract import Partial, Round, Scope, Totals
from pipeline.plan.cost import is_sampled
from pipeline.plan.plan import Group, MergePlan, Piece, UnitPlan
from pipeline.staging import Staging
from pipeline.work.orders import MergeOrder, PieceOrder


@dataclass
class Settled:
    """What is known about one group: totals, scan rounds done, the round whose partials are kept by piece
    with the totals it was measured under, and the running sums before each piece.
    """

    totals: Totals = field(default_factory=dict)
    scans: tuple[Round, ...] = ()
    kept: tuple[Round, Totals] | None = None
    sums: dict[tuple[int, int], Partial] = field(default_factory=dict)

    def before(self, piece: Piece) -> Partial:
        """The scan rounds' sum over all pieces that precede this one in the group."""
        return self.sums.get((piece.tensor, piece.start), {})


@dataclass
class _Measured:
    """What one round has measured of one group so far: the sum of all partials, a scan's own by piece, and
    how many units have yet to answer.
    """

    missing: int = 0
    folded: Partial = field(default_factory=dict)
    by_piece: dict[str, Partial] = field(default_factory=dict)

    def take(self, key: str, partial: Partial, scan: bool) -> None:
        """Add one partial; only sums are held, unless each piece's own will be asked for."""
        if scan:
            self.by_piece[key] = partial
        if self.folded:
            fold_into(self.folded, partial)
        else:
            self.folded = fold(partial)


class Measuring:
    """The rounds of one merge: ask, take every answer, until there is nothing to ask.

    `todo` holds what must be run for the rounds that are open: (unit, the merge's order in it). Results that
    an earlier run left in the work directory are read, not asked for again.
    """

    def __init__(self, plan: MergePlan, staging: Staging) -> None:
        self.plan, self.staging = plan, staging
        self.settled = {number: Settled() for number in range(len(plan.groups))}
        self.todo: list[tuple[UnitPlan, MergeOrder]] = []
        self._method = load_method(plan.config.merge_method)
        self._units: dict[int, list[UnitPlan]] = {number: [] for number in self.settled}
        for unit in plan.units:
            if unit.group is not None:
                self._units[unit.group].append(unit)
        self._asking: dict[int, Round] = {}
        self._measured: dict[int, _Measured] = {}

    def ask(self) -> bool:
        """Open the next round of every group that has one; whether there is any."""
        asking = {
            number: round_
            for number, known in self.settled.items()
            if (round_ := self._method.next_round(self.plan.groups[number].knobs, known.totals)) is not None
        }
        self._asking, self.todo = asking, []
        for number, round_ in asking.items():
            recalled = self._recall(number, round_)
            measured = self._measured[number] = recalled or _Measured()
            if recalled is None:
                self._look_up(number, round_)
            if not measured.missing:
                self._settle(number)
        return bool(asking)

    def take(self, unit: UnitPlan, value: Mapping[str, Any]) -> None:
        """The result of one order of `todo`: kept for a resume, and added to its group's sum. With a group's
        last one what it knows moves on, so that tables are held for the groups under way, not for all.
        """
        assert unit.group is not None
        round_, totals = self._asking[unit.group], self.settled[unit.group].totals
        text = {key: b64encode(data).decode() for key, data in value["partials"].items()}
        self.staging.save_partials(_order_id(unit, round_, totals), {**value, "partials": text})
        measured = self._measured[unit.group]
        for key, data in value["partials"].items():
            measured.take(key, unpack(data), round_.scan)
        measured.missing -= 1
        if not measured.missing:
            self._settle(unit.group)

    def _settle(self, number: int) -> None:
        """Every result of a group's round is in: what the group knows moves on."""
        round_, measured = self._asking[number], self._measured.pop(number)
        known, group = self.settled[number], self.plan.groups[number]
        known.kept = (round_, known.totals) if round_.keep else known.kept
        if round_.scan:
            _note_sums(self.plan, group, known, measured)
            known.scans = (*known.scans, round_)
        scope = Scope(group.numel)
        known.totals = self._method.settle(round_, measured.folded, group.knobs, known.totals, scope)

    def _look_up(self, number: int, round_: Round) -> None:
        """Take what an earlier run left of a round, and note the rest as to be done."""
        measured = self._measured[number]
        for unit in self._units[number]:
            held = self.staging.load_partials(_order_id(unit, round_, self.settled[number].totals))
            if held is None:
                measured.missing += 1
                self.todo.append(
                    (unit, merge_order(self.plan, self.staging, unit, self.settled[number], round_))
                )
                continue
            for key, partial in _unpacked(held):
                measured.take(key, partial, round_.scan)

    def _recall(self, number: int, round_: Round) -> _Measured | None:
        """A round of one group read off the partials that an earlier one left, one piece's at a time; None
        where they do not tell.
        """
        known = self.settled[number]
        if known.kept is None:
            return None
        measured = _Measured()
        for unit in self._units[number]:
            held = self.staging.load_partials(_order_id(unit, *known.kept))
            assert held is not None, "a round's partials stay until the merge is published"
            for key, kept in _unpacked(held):
                partial = self._method.recall(round_, kept, self.plan.groups[number].knobs, known.totals)
                if partial is None:
                    return None
                measured.take(key, partial, round_.scan)
        return measured


def merge_order(
    plan: MergePlan, staging: Staging, unit: UnitPlan, known: Settled, round_: Round | None = None
) -> MergeOrder:
    """The merge's part in a unit as a worker receives it, with what is known about its group so far."""
    return MergeOrder(
        method=plan.config.merge_method,
        models=tuple(str(index.ref) for index in plan.experts),
        directory="" if plan.discard else str(staging.model.absolute()),
        pieces=tuple(
            PieceOrder(plan.tensors[piece.tensor], piece, known.totals, known.before(piece))
            for piece in unit.pieces
        ),
        name=plan.config.name,
        round=round_,
        thin=round_ is not None and is_thin(plan, unit.group, round_),
        scans=known.scans,
    )


def is_thin(plan: MergePlan, group: int | None, round_: Round) -> bool:
    """Whether a sample of the group tells this round."""
    return round_.sample and group is not None and is_sampled(plan.groups[group].numel)


def _unpacked(held: Mapping[str, Any]) -> Iterator[tuple[str, Partial]]:
    """The partials of a measuring unit's result as the work directory holds it, unpacked one at a time."""
    for key, data in held["partials"].items():
        yield key, unpack(b64decode(data))


def _order_id(unit: UnitPlan, round_: Round, totals: Totals) -> str:
    """What a unit measured is kept under. Where a window lies follows from a sample, and that from the cut:
    partials taken under other totals, by a run that was cut otherwise, are others.
    """
    return f"{unit.id}-{round_.name}-{digest_bytes(repr(sorted(totals.items())).encode())[-12:]}"


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
