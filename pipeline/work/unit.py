"""One unit of work, where arithmetic meets files: read, measure or merge, write, report. Runs in a worker;
decides nothing.

The same order gives the same bytes at the same offsets however often it runs, so two overlapping attempts do
no harm.
"""

from __future__ import annotations

import resource
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cluster.fold import pack
from pipeline.errors import CheckpointError
from pipeline.methods import load_method
from pipeline.methods.contract import Partial, Scope
from pipeline.work.lanes import Lane, make_lane
from pipeline.work.orders import Clock, MergeOrder, PieceOrder, Receipt, UnitOrder
from pipeline.work.proof import Proof
from pipeline.work.reading import Arena, Bytes, Load
from pipeline.work.rounds import Walk
from pipeline.work.sharing import shared_loads
from pipeline.work.writing import Output

_own = threading.local()


def run_unit(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out `payload["order"]`, a UnitOrder.

    Returns {"merges": [...]}: for each merge of the order its receipt, or its packed partials where the unit
    measures, as plain data. Raises CheckpointError where inputs that must be equal are not, OSError where the
    storage fails.
    """
    order: UnitOrder = payload["order"]
    measures = any(merge.round for merge in order.merges)
    return {"merges": _measure(order) if measures else _merge(order)}


@dataclass
class _Progress:
    """How far one merge's part of a unit is. `passed` holds the running sums of pieces whose earlier loads
    are done.
    """

    order: MergeOrder
    read_bytes: int = 0
    write_bytes: int = 0
    passed: dict[str, Partial] = field(default_factory=dict)
    proofs: dict[str, Proof] = field(default_factory=dict)
    rounds: Counter[str] = field(default_factory=Counter)
    partials: dict[str, Partial] = field(default_factory=dict)
    packed: dict[str, bytes] = field(default_factory=dict)

    def nonfinite(self) -> dict[str, int]:
        """Elements of each tensor that are NaN or infinite, over the unit's pieces of it."""
        counts: Counter[str] = Counter()
        for piece in self.order.pieces:
            if proof := self.proofs.get(piece.name):
                counts[piece.tensor.spec.name] += proof.nonfinite
        return {name: count for name, count in counts.items() if count}

    def walk(self, lane: Lane, load: Load) -> Walk:
        """A walk over one of the merge's loads."""
        piece: PieceOrder = load.request.order
        self.read_bytes += sum(load.request.sizes)
        return Walk(
            lane=lane,
            method=load_method(self.order.method),
            models=self.order.models,
            load=load,
            totals=piece.totals,
            before=self.passed.get(piece.name, piece.before),
            scans=self.order.scans,
        )


def _merge(order: UnitOrder) -> list[dict[str, Any]]:
    """Merge every piece of the unit into the pre-sized files and return the receipts."""
    began, clock = time.perf_counter(), Clock()
    tools = _tools(order.device)
    merges = [_Progress(merge) for merge in order.merges]
    with Output(tools.lane, clock, tools.buffers) as output:
        for number, load in _loads(order, tools, clock):
            mark, waited = time.perf_counter(), clock.write_s
            _lay_down(merges[number], tools.lane, load, output)
            tools.lane.settle()
            clock.compute_s += time.perf_counter() - mark - (clock.write_s - waited)
    return [
        Receipt(
            digests={key: proof.hexdigest() for key, proof in merge.proofs.items()},
            nonfinite=merge.nonfinite(),
            read_bytes=merge.read_bytes,
            write_bytes=merge.write_bytes,
            elapsed_s=time.perf_counter() - began,
            clock=clock,
            peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            rounds=merge.rounds,
        ).to_dict()
        for merge in merges
    ]


def _lay_down(merge: _Progress, lane: Lane, load: Load, output: Output) -> None:
    """Merge or copy one load of one merge."""
    order, directory = load.request.order, merge.order.directory
    proof = merge.proofs.setdefault(order.name, Proof(order.tensor.spec.dtype))
    walk = merge.walk(lane, load)
    merge.write_bytes += walk.numel * order.tensor.spec.dtype.size_bytes
    if order.tensor.action == "copy":
        all_equal(load, merge.order.models, merge.order.name)
        output.copy(load, directory, proof)
        return
    if order.piece.mode == "resident":
        merge.rounds.update(walk.settle(Scope(order.tensor.spec.numel)))
    output.merge(walk, directory, proof)
    merge.passed[order.name] = walk.before


def _measure(order: UnitOrder) -> list[dict[str, Any]]:
    """One round of each merge over the unit's pieces: its folded partial, or one a piece for a scan round."""
    began, clock = time.perf_counter(), Clock()
    tools = _tools(order.device)
    merges = [_Progress(merge) for merge in order.merges]
    for number, load in _loads(order, tools, clock):
        merge, piece = merges[number], load.request.order
        round_ = merge.order.round
        assert round_ is not None
        key = piece.name if round_.scan or round_.keep else "all"
        walk = merge.walk(tools.lane, load)
        # One set of tables for all loads: they may be larger than what a load holds.
        walk.measure(round_, merge.partials.setdefault(key, {}))
        tools.lane.settle()
        merge.passed[piece.name] = walk.before
        if key == piece.name and load.request.stop == piece.piece.stop:
            merge.packed[key] = pack(merge.partials.pop(key))
    return [
        {
            "partials": {**merge.packed, **{key: pack(found) for key, found in merge.partials.items()}},
            "read_bytes": merge.read_bytes,
            "elapsed_s": round(time.perf_counter() - began, 4),
        }
        for merge in merges
    ]


@dataclass
class _Tools:
    """What a thread keeps from unit to unit: its lane, and memory to read into and to write from."""

    lane: Lane
    arena: Arena
    buffers: list[Bytes | None]


def _tools(device: str) -> _Tools:
    """This thread's tools."""
    kept: dict[str, _Tools] | None = getattr(_own, "tools", None)
    if kept is None:
        kept = _own.tools = {}
    if device not in kept:
        lane = make_lane(device)
        kept[device] = _Tools(lane, Arena(lane.allocate), [None, None])
    return kept[device]


def _loads(order: UnitOrder, tools: _Tools, clock: Clock) -> Iterator[tuple[int, Load]]:
    """(number of the merge, its load) of the whole unit, with the seconds spent waiting on the clock."""
    stream = shared_loads(
        [(number, piece) for number, merge in enumerate(order.merges) for piece in merge.pieces],
        tools.lane,
        tools.arena,
        order.memory_bytes,
        sample=any(merge.thin for merge in order.merges),
        forgets=order.forget,
    )
    while True:
        mark = time.perf_counter()
        found = next(stream, None)
        clock.read_s += time.perf_counter() - mark
        if found is None:
            return
        yield found


def all_equal(load: Load, models: tuple[str, ...], merge: str = "") -> None:
    """Raise CheckpointError, naming `merge` where it is one of several, unless every input holds the same
    bytes.
    """
    tensor = load.request.order.tensor
    names = models if tensor.base is None else ("the base model", *models)
    for name, raw in zip(names, load.raw, strict=True):
        if not np.array_equal(raw, load.raw[0]):
            of, without = (
                (f'merge "{merge}", ', f'; without "{merge}" the others go on') if merge else ("", "")
            )
            raise CheckpointError(
                f'tensor "{tensor.spec.name}" is not a float tensor and differs between models',
                where=f'{of}model "{name}"',
                expected=f"the same {tensor.spec.dtype.name} values in every model",
                found="different values",
                hint=f"integers cannot be averaged: merge models that agree in them{without}",
            )
