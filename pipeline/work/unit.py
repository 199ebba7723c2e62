"""One unit of work, where arithmetic meets files: read, measure or merge, write, report. Runs in a worker;
decides nothing.

The same order gives the same bytes at the same offsets however often it runs, so two overlapping attempts do
no harm.
"""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xxhash

from cluster.fold import fold, pack
from pipeline.errors import CheckpointError
from pipeline.methods import load_method
from pipeline.methods.contract import Partial, Scope
from pipeline.plan.cost import stream_bytes
from pipeline.work.lanes import Lane, make_lane
from pipeline.work.orders import Clock, PieceOrder, Receipt, UnitOrder
from pipeline.work.reading import Arena, Load, load_all, requests
from pipeline.work.rounds import Walk
from pipeline.work.writing import Output

_own = threading.local()


def run_unit(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out `payload["order"]`, a UnitOrder.

    Returns a merge unit's receipt, or a measuring unit's packed partials, as plain data. Raises
    CheckpointError where inputs that must be equal are not, OSError where the storage fails.
    """
    order: UnitOrder = payload["order"]
    return _measure(order) if order.round else _merge(order)


def _merge(order: UnitOrder) -> dict[str, Any]:
    """Merge every piece of the unit into the pre-sized files and return the receipt."""
    began, clock = time.perf_counter(), Clock()
    lane, arena = _tools(order.device)
    digests: dict[str, Any] = {}
    passed: dict[str, Partial] = {}
    read_bytes = 0
    with Output(order.directory, lane, clock) as output:
        for load in _loads(order, lane, arena, clock):
            key = load.request.order.name
            digest = digests.setdefault(key, xxhash.xxh3_128())
            mark, waited = time.perf_counter(), clock.write_s
            if load.request.order.tensor.action == "copy":
                output.copy(load, all_equal(load, order.models), digest)
            else:
                walk = _walk(order, lane, load, passed)
                if load.request.order.piece.mode == "resident":
                    walk.settle(Scope(load.request.order.tensor.spec.numel))
                output.merge(walk, digest)
                passed[key] = walk.before
            lane.settle()
            clock.compute_s += time.perf_counter() - mark - (clock.write_s - waited)
            read_bytes += sum(load.request.sizes)
    receipt = Receipt(
        digests={key: digest.hexdigest() for key, digest in digests.items()},
        read_bytes=read_bytes,
        write_bytes=output.written_bytes,
        elapsed_s=time.perf_counter() - began,
        clock=clock,
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
    return receipt.to_dict()


def _measure(order: UnitOrder) -> dict[str, Any]:
    """One round over the unit's pieces: their folded partial, or one partial a piece for a scan round."""
    assert order.round is not None
    began, clock = time.perf_counter(), Clock()
    lane, arena = _tools(order.device)
    partials: dict[str, Partial] = {}
    passed: dict[str, Partial] = {}
    read_bytes = 0
    for load in _loads(order, lane, arena, clock):
        piece = load.request.order
        key = piece.name if order.round.scan or order.round.keep else "all"
        walk = _walk(order, lane, load, passed)
        partial = walk.measure(order.round)
        lane.settle()
        passed[piece.name] = walk.before
        partials[key] = fold(partials[key], partial) if key in partials else partial
        read_bytes += sum(load.request.sizes)
    return {
        "partials": {key: pack(partial) for key, partial in partials.items()},
        "read_bytes": read_bytes,
        "elapsed_s": round(time.perf_counter() - began, 4),
    }


def _tools(device: str) -> tuple[Lane, Arena]:
    """This thread's lane and read arena, kept from unit to unit."""
    tools: dict[str, tuple[Lane, Arena]] | None = getattr(_own, "tools", None)
    if tools is None:
        tools = _own.tools = {}
    if device not in tools:
        lane = make_lane(device)
        tools[device] = (lane, Arena(lane.allocate))
    return tools[device]


def _loads(order: UnitOrder, lane: Lane, arena: Arena, clock: Clock) -> Iterator[Load]:
    """The unit's loads, with the seconds spent waiting for them on the clock."""
    widest = max(piece.tensor.read_bytes_per_element for piece in order.pieces)
    limit = max(order.memory_bytes, stream_bytes(widest, order.device))
    sample = order.round is not None and order.round.sample
    stream = load_all(
        list(requests(order.pieces, lane.load_elements, sample=sample)), arena, limit, forgets=order.forget
    )
    while True:
        mark = time.perf_counter()
        load = next(stream, None)
        clock.read_s += time.perf_counter() - mark
        if load is None:
            return
        yield load


def _walk(order: UnitOrder, lane: Lane, load: Load, passed: Mapping[str, Partial]) -> Walk:
    """A walk over one load; `passed` holds the running sums of pieces whose earlier loads are done."""
    piece: PieceOrder = load.request.order
    return Walk(
        lane=lane,
        method=load_method(order.method),
        models=order.models,
        load=load,
        totals=piece.totals,
        before=passed.get(piece.name, piece.before),
        scans=order.scans,
    )


def all_equal(load: Load, models: tuple[str, ...]) -> int:
    """Check that every input holds the same bytes; returns the index of the one to copy."""
    tensor = load.request.order.tensor
    names = models if tensor.base is None else ("the base model", *models)
    for name, raw in zip(names, load.raw, strict=True):
        if not np.array_equal(raw, load.raw[0]):
            raise CheckpointError(
                f'tensor "{tensor.spec.name}" is not a float tensor and differs between models',
                where=f'model "{name}"',
                expected=f"the same {tensor.spec.dtype.name} values in every model",
                found="different values",
                hint="quantised checkpoints cannot be merged: dequantise the models first",
            )
    return 0
