"""Walk the tiles of one load through a method: measuring, settling, applying. Generic over methods; no files.

Shape legend: E experts, N elements of a tile.

Tiles are visited in canonical order, so a scan's running sum is at hand: after each tile the partials of the
scan rounds already done are counted again and added. They are integers, so the result does not depend on
where tiles begin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from cluster.fold import fold
from pipeline.methods.contract import Block, Method, Partial, Round, Scope, Totals
from pipeline.work.lanes import CpuLane
from pipeline.work.reading import Load


@dataclass
class Walk:
    """A load, the method, and what is known about the scope so far. `before` moves on with every tile
    visited.
    """

    lane: CpuLane
    method: Method
    models: tuple[str, ...]
    load: Load
    totals: Totals
    before: Partial
    scans: tuple[Round, ...]

    def tiles(self) -> Iterator[tuple[int, int, Block]]:
        """(start, stop, block) of each tile in order, counted within the load; one is staged ahead."""
        request = self.load.request
        bounds = _bounds(request.stop - request.start, self.lane.tile_elements)
        staged = self.lane.stage(self.load, *bounds[0])
        for number, (start, stop) in enumerate(bounds):
            current = staged
            if number + 1 < len(bounds):
                staged = self.lane.stage(self.load, *bounds[number + 1])
            yield start, stop, self.lane.block(current, self.models)

    def measure(self, round_: Round) -> Partial:
        """The load's partial for one round."""
        knobs = self.load.request.order.tensor.knobs
        total: Partial = {}
        for _, _, block in self.tiles():
            partial = self.method.measure(round_, block, knobs, self.totals, self.before)
            for name, counts in partial.items():
                # In place: a histogram is megabytes; copying it for every tile would outlast the counting.
                total[name] = np.add(total[name], counts, out=total[name]) if name in total else counts
            self._pass(block)
        return total

    def settle(self, scope: Scope) -> None:
        """Run every round on this load alone: it is the whole scope."""
        knobs = self.load.request.order.tensor.knobs
        start = self.before
        while (round_ := self.method.next_round(knobs, self.totals)) is not None:
            self.before = start
            folded = self.measure(round_)
            self.totals = self.method.settle(round_, folded, knobs, self.totals, scope)
            if round_.scan:
                self.scans = (*self.scans, round_)
                start = {**start, **{name: array * 0 for name, array in folded.items()}}
        self.before = start

    def apply(self, visit: Callable[[int, int, Tensor], None]) -> None:
        """Merge every tile and hand (start, stop, merged_N) to `visit`."""
        knobs = self.load.request.order.tensor.knobs
        for start, stop, block in self.tiles():
            visit(start, stop, self.method.apply(block, knobs, self.totals, self.before))
            self._pass(block)

    def _pass(self, block: Block) -> None:
        knobs = self.load.request.order.tensor.knobs
        for round_ in self.scans:
            partial = self.method.measure(round_, block, knobs, self.totals, self.before)
            self.before = {**self.before, **fold({name: self.before[name] for name in partial}, partial)}


def _bounds(numel: int, tile_elements: int) -> list[tuple[int, int]]:
    """Tile boundaries of a load; a load of nothing is one empty tile."""
    starts = range(0, max(numel, 1), tile_elements)
    return [(start, min(start + tile_elements, numel)) for start in starts]
