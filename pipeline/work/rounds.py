"""Walk the tiles of one load through a method: measuring, settling, applying. Generic over methods; no files.

Tiles are visited in canonical order, so a scan's running sum is at hand: after each tile the partials of the
scan rounds already done are counted again and added. They are integers, so the result does not depend on
where tiles begin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cluster.fold import fold
from pipeline.kernels.contract import Block
from pipeline.methods.contract import Method, Partial, Round, Scope, Totals
from pipeline.plan import cost
from pipeline.work.lanes import NOWHERE, Lane
from pipeline.work.reading import Bytes, Load, sample_runs

Bounds = list[tuple[int, int]]


@dataclass
class Walk:
    """A load, the method, and what is known about the scope so far. `before` moves on with every tile
    visited.
    """

    lane: Lane
    method: Method
    models: tuple[str, ...]
    load: Load
    totals: Totals
    before: Partial
    scans: tuple[Round, ...]

    @property
    def numel(self) -> int:
        """Elements of the load."""
        return self.load.request.stop - self.load.request.start

    def measure(self, round_: Round, partial: Partial, *, least: int | None = None) -> Partial:
        """Add what the load says in one round to `partial`, and return it. With `least` a sample of it says
        it, of so many elements at least.
        """
        knobs = self.load.request.order.tensor.knobs
        runs = [(0, self.numel)] if least is None else sample_runs(0, self.numel, least=least)
        bounds = [tile for run in runs for tile in self._bounds(*run)]
        for _, _, _, block in self._tiles(bounds, lambda start, stop: NOWHERE):
            self.method.measure(round_, block, knobs, self.totals, self.before, partial)
            self._pass(block)
        return partial

    def settle(self, scope: Scope) -> list[str]:
        """Run every round on this load alone: it is the whole scope. Returns the names of the rounds."""
        knobs = self.load.request.order.tensor.knobs
        start, kept = self.before, Partial()
        names = []
        while (round_ := self.method.next_round(knobs, self.totals)) is not None:
            self.before = start
            names.append(round_.name)
            known = self.method.recall(round_, kept, knobs, self.totals)
            least = cost.SAMPLE_LEAST if round_.sample else None
            folded = self.measure(round_, {}, least=least) if known is None else known
            kept = {**kept, **folded} if round_.keep else kept
            self.totals = self.method.settle(round_, folded, knobs, self.totals, scope)
            self.scans = (*self.scans, round_) if round_.scan else self.scans
        self.before = start
        return names

    def apply(self, room: Callable[[int, int], Bytes], done: Callable[[int, int], None]) -> None:
        """Merge every tile into the bytes that `room(start, stop)` gives, and say so to `done`."""
        tensor = self.load.request.order.tensor
        for start, stop, out, block in self._tiles(self._bounds(0, self.numel), room):
            merged = self.method.apply(block, tensor.knobs, self.totals, self.before)
            self.lane.store(merged, tensor.spec.dtype, out)
            self._pass(block)
            done(start, stop)

    def _tiles(
        self, bounds: Bounds, room: Callable[[int, int], Bytes]
    ) -> Iterator[tuple[int, int, Bytes, Block]]:
        """(start, stop, place for the result, block) of each tile in order; one is staged ahead."""
        staged = self.lane.stage(self.load, *bounds[0])
        for number, (start, stop) in enumerate(bounds):
            current = staged
            if number + 1 < len(bounds):
                staged = self.lane.stage(self.load, *bounds[number + 1])
            out = room(start, stop)
            yield start, stop, out, self.lane.block(current, self.models, out)

    def _bounds(self, start: int, stop: int) -> Bounds:
        """Tile boundaries of a run; a run of nothing is one empty tile."""
        step = self.lane.tile(self.load.request.order.tensor)
        starts = range(start, max(stop, start + 1), step)
        return [(first, min(first + step, stop)) for first in starts]

    def _pass(self, block: Block) -> None:
        knobs = self.load.request.order.tensor.knobs
        for round_ in self.scans:
            partial: Partial = {}
            self.method.measure(round_, block, knobs, self.totals, self.before, partial)
            self.before = {**self.before, **added(self.before, partial)}


def added(before: Partial, partial: Partial) -> Partial:
    """The arrays of `partial` on top of what `before` has of them."""
    return (
        fold(partial, {name: before[name] for name in partial})
        if partial.keys() <= before.keys()
        else partial
    )
