"""Rounds over the groups that must be measured before they are merged: order, fold, settle, until nothing is
left to ask.

The driver's side of measure -> fold -> settle: it adds integers and never sees a weight.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.fold import fold, unpack
from pipeline.methods import load_method
from pipeline.methods.contract import Method, Partial, Round, Scope, Totals
from pipeline.plan.plan import Group, MergePlan, Piece, UnitPlan
from pipeline.staging import Staging
from pipeline.work.orders import PieceOrder, UnitOrder

RunUnits = Callable[[Sequence[tuple[UnitPlan, UnitOrder]], str], Iterator[tuple[str, dict[str, Any]]]]
"""Runs measuring orders under a label; yields (order id, result) as they finish."""


@dataclass
class Settled:
    """What is known about one group: totals, scan rounds done, and the running sums before each piece."""

    totals: Totals = field(default_factory=dict)
    scans: tuple[Round, ...] = ()
    sums: dict[tuple[int, int], Partial] = field(default_factory=dict)

    def before(self, piece: Piece) -> Partial:
        """The scan rounds' sum over all pieces that precede this one in the group."""
        return self.sums.get((piece.tensor, piece.start), {})


def settle_groups(plan: MergePlan, staging: Staging, run_units: RunUnits) -> dict[int, Settled]:
    """Run every group's rounds, all groups at once, and return what was settled by group number.

    A measuring unit that an earlier run finished is read from the work directory instead of being run again.
    """
    method = load_method(plan.config.merge_method)
    settled = {number: Settled() for number in range(len(plan.groups))}
    units = {number: [unit for unit in plan.units if unit.group == number] for number in settled}
    while True:
        asking = {
            number: round_
            for number, known in settled.items()
            if (round_ := method.next_round(plan.groups[number].knobs, known.totals)) is not None
        }
        if not asking:
            return settled
        orders = [
            (unit, _order(plan, staging, unit, settled[number], round_))
            for number, round_ in asking.items()
            for unit in units[number]
        ]
        results = _results(
            orders, staging, run_units, "/".join(sorted({round_.name for round_ in asking.values()}))
        )
        for number, round_ in asking.items():
            mine = [order.id for unit, order in orders if unit.group == number]
            _settle(
                method,
                plan,
                plan.groups[number],
                settled[number],
                round_,
                [results[order_id] for order_id in mine],
            )


def _order(plan: MergePlan, staging: Staging, unit: UnitPlan, known: Settled, round_: Round) -> UnitOrder:
    pieces = tuple(
        PieceOrder(plan.tensors[piece.tensor], piece, known.totals, known.before(piece))
        for piece in unit.pieces
    )
    return UnitOrder(
        id=f"{unit.id}-{round_.name}",
        method=plan.config.merge_method,
        models=tuple(str(index.ref) for index in plan.experts),
        device=plan.device,
        directory=str(staging.model),
        memory_bytes=0,
        pieces=pieces,
        round=round_,
        scans=known.scans,
    )


def _results(
    orders: Sequence[tuple[UnitPlan, UnitOrder]], staging: Staging, run_units: RunUnits, label: str
) -> dict[str, dict[str, Partial]]:
    """Partials by order id and piece key, from the work directory where they lie there already."""
    held = {order.id: staging.load_partials(order.id) for _, order in orders}
    todo = [(unit, order) for unit, order in orders if held[order.id] is None]
    for order_id, value in run_units(todo, f"measuring {label}"):
        packed = {key: b64encode(data).decode() for key, data in value["partials"].items()}
        held[order_id] = {**value, "partials": packed}
        staging.save_partials(order_id, held[order_id] or {})
    return {
        order_id: {key: unpack(b64decode(data)) for key, data in (value or {})["partials"].items()}
        for order_id, value in held.items()
    }


def _settle(
    method: Method,
    plan: MergePlan,
    group: Group,
    known: Settled,
    round_: Round,
    results: Sequence[dict[str, Partial]],
) -> None:
    """Fold one group's partials, keep a scan's running sums, and let the method settle."""
    folded: Partial = {}
    if round_.scan:
        by_piece = {key: partial for partials in results for key, partial in partials.items()}
        members = set(group.tensors)
        pieces = [piece for unit in plan.units for piece in unit.pieces if piece.tensor in members]
        for piece in sorted(pieces, key=lambda piece: (piece.tensor, piece.start)):
            partial = by_piece[f"{plan.tensors[piece.tensor].spec.name}[{piece.start}:{piece.stop}]"]
            sums = folded or {key: array * 0 for key, array in partial.items()}
            known.sums[piece.tensor, piece.start] = {**known.before(piece), **sums}
            folded = fold(folded, partial) if folded else partial
        known.scans = (*known.scans, round_)
    else:
        for partial in (partial for partials in results for partial in partials.values()):
            folded = fold(folded, partial) if folded else partial
    known.totals = method.settle(round_, folded, group.knobs, known.totals, Scope(group.numel))
