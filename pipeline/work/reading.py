"""Read the inputs of a unit ahead of the arithmetic, into one reused buffer. Bounded; it never looks at a
value.

A *load* is a run of elements of one tensor from every input at once. While one load is computed the next is
read, unless both together would exceed the memory bound; then they take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from pipeline.checkpoint.buffers import LINE_BYTES, skip_bytes
from pipeline.checkpoint.files import OpenFiles, forget, read_into
from pipeline.checkpoint.synthetic import fill, is_synthetic
from pipeline.plan import cost
from pipeline.plan.cost import most_held
from pipeline.work.orders import PieceOrder

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Request:
    """Elements [start, stop) of a piece's tensor, to be read from every input."""

    order: PieceOrder
    start: int
    stop: int

    @property
    def sizes(self) -> list[int]:
        """Bytes from each input."""
        return [(self.stop - self.start) * source.dtype.size_bytes for source in self.order.tensor.inputs]

    @property
    def held_bytes(self) -> int:
        """Buffer bytes the load occupies, in whole lines; the lines it may skip come on top."""
        return sum(_whole_lines(size) for size in self.sizes)

    @property
    def skipped_bytes(self) -> int:
        """At most so many, for copies at full speed: a line an input."""
        return LINE_BYTES * len(self.order.tensor.inputs)


@dataclass(frozen=True)
class Load:
    """A filled request: raw bytes of each input, in the order of `TensorPlan.inputs`. Valid until the next
    one is asked for.
    """

    request: Request
    raw: tuple[Bytes, ...]


def requests(orders: Sequence[PieceOrder], load_elements: int, *, sample: bool = False) -> Iterator[Request]:
    """The loads of a unit in order: a resident piece is one load, a streamed one as many as it takes.

    With `sample` only a share of each piece is read, the same of all.
    """
    for order in orders:
        piece = order.piece
        if sample:
            yield from (Request(order, *run) for run in sample_runs(piece.start, piece.stop, least=0))
            continue
        step = max(1, piece.numel) if piece.mode == "resident" else load_elements
        for start in range(piece.start, max(piece.stop, piece.start + 1), step):
            yield Request(order, start, min(start + step, piece.stop))


def sample_runs(start: int, stop: int, *, least: int) -> list[tuple[int, int]]:
    """Runs of elements that stand for [start, stop): a share of them, evenly spread, and `least` at least."""
    numel = stop - start
    wanted = max(ceil(numel * cost.SAMPLE_SHARE), least)
    count = max(1, ceil(wanted / cost.SAMPLE_RUN))
    length = ceil(wanted / count)
    if count * length >= numel:
        return [(start, stop)]
    if count == 1:
        return [(start + (numel - length) // 2, start + (numel + length) // 2)]
    firsts = (start + number * (numel - length) // (count - 1) for number in range(count))
    return [(first, first + length) for first in firsts]


class Arena:
    """The read memory of one worker thread: one buffer, kept so that its pages stay warm."""

    def __init__(self, allocate: Callable[[int], Bytes]) -> None:
        self._allocate = allocate
        self._held: Bytes | None = None

    def room(self, size_bytes: int) -> Bytes:
        """A buffer of at least `size_bytes`. Nobody may look at an earlier one any more."""
        if self._held is None or self._held.size < size_bytes:
            self._held = None
            self._held = self._allocate(size_bytes)
        return self._held


def load_all(
    wanted: Sequence[Request], arena: Arena, limit_bytes: int, *, forgets: bool = False
) -> Iterator[Load]:
    """Fill the requests in order, one ahead where both fit `limit_bytes`; a single larger one is held alone.

    Loads take turns at the front and at the back of one buffer. With `forgets` the system need not keep what
    was read. Raises OSError naming the file that cannot be read.
    """
    skipped = 2 * max((request.skipped_bytes for request in wanted), default=0)
    buffer = arena.room(most_held([request.held_bytes for request in wanted], limit_bytes) + skipped)
    with OpenFiles() as files, ThreadPoolExecutor(1, "read") as pool:
        ahead: Future[Load] | None = None
        for number, request in enumerate(wanted):
            load = (ahead or pool.submit(_fill, request, files, buffer, number % 2 == 1, forgets)).result()
            ahead = None
            if number + 1 < len(wanted):
                following = wanted[number + 1]
                if request.held_bytes + following.held_bytes <= limit_bytes:
                    ahead = pool.submit(_fill, following, files, buffer, number % 2 == 0, forgets)
            yield load


def _fill(request: Request, files: OpenFiles, buffer: Bytes, at_the_back: bool, forgets: bool) -> Load:
    last = buffer.size // LINE_BYTES * LINE_BYTES - request.held_bytes - request.skipped_bytes
    raw, at = [], last if at_the_back else 0
    for source, size in zip(request.order.tensor.inputs, request.sizes, strict=True):
        offset = source.start_byte + request.start * source.dtype.size_bytes
        at += skip_bytes(buffer.ctypes.data + at, offset)
        view = buffer[at : at + size]
        if is_synthetic(source.file):
            fill(source.file, view.data, offset)
        else:
            read_into(files.reading(source.file), view.data, offset)
            if forgets:
                forget(files.reading(source.file), offset, size)
        raw.append(view)
        at += _whole_lines(size)
    return Load(request, tuple(raw))


def _whole_lines(size_bytes: int) -> int:
    return -(-size_bytes // LINE_BYTES) * LINE_BYTES
