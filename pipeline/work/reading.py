"""Read the inputs of a unit ahead of the arithmetic, into two reused buffers. Bounded; it never looks at a
value.

A *load* is a run of elements of one tensor from every input at once. While one load is computed the next is
read, unless both together would exceed the memory bound; then they take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.checkpoint.files import OpenFiles, read_into
from pipeline.work.orders import PieceOrder

Bytes = NDArray[np.uint8]
_ALIGN = 64


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
        """Buffer bytes the load occupies."""
        return sum(_aligned(size) for size in self.sizes)


@dataclass(frozen=True)
class Load:
    """A filled request: raw bytes of each input, in the order of `TensorPlan.inputs`. Valid until the next
    one is asked for.
    """

    request: Request
    raw: tuple[Bytes, ...]


def requests(orders: Sequence[PieceOrder], load_elements: int) -> Iterator[Request]:
    """The loads of a unit in order: a resident piece is one load, a streamed one as many as it takes."""
    for order in orders:
        piece = order.piece
        step = max(1, piece.numel) if piece.mode == "resident" else load_elements
        for start in range(piece.start, max(piece.stop, piece.start + 1), step):
            yield Request(order, start, min(start + step, piece.stop))


class Buffers:
    """Two byte buffers of one worker thread, kept from unit to unit so that their pages stay warm."""

    def __init__(self, allocate: Callable[[int], Bytes]) -> None:
        self._allocate = allocate
        self._slots: list[Bytes | None] = [None, None]

    def take(self, slot: int, size_bytes: int, limit_bytes: int) -> Bytes:
        """At least `size_bytes` in `slot`; the other slot is given up first if both exceed the limit."""
        held = self._slots[slot]
        if held is None or held.size < size_bytes:
            self._slots[slot] = None
            other = self._slots[1 - slot]
            if other is not None and other.size + size_bytes > limit_bytes:
                self._slots[1 - slot] = None
            held = self._slots[slot] = self._allocate(size_bytes)
        return held


def load_all(wanted: Sequence[Request], buffers: Buffers, limit_bytes: int) -> Iterator[Load]:
    """Fill the requests in order, one ahead where the limit allows. Raises OSError naming the file that
    cannot be read.
    """
    with OpenFiles() as files, ThreadPoolExecutor(1, "read") as pool:
        ahead: Future[Load] | None = None
        for number, request in enumerate(wanted):
            load = (ahead or pool.submit(_fill, request, files, buffers, number % 2, limit_bytes)).result()
            ahead = None
            if number + 1 < len(wanted):
                following = wanted[number + 1]
                if request.held_bytes + following.held_bytes <= limit_bytes:
                    ahead = pool.submit(_fill, following, files, buffers, (number + 1) % 2, limit_bytes)
            yield load


def _fill(request: Request, files: OpenFiles, buffers: Buffers, slot: int, limit_bytes: int) -> Load:
    buffer = buffers.take(slot, request.held_bytes, limit_bytes)
    raw, at = [], 0
    for source, size in zip(request.order.tensor.inputs, request.sizes, strict=True):
        view = buffer[at : at + size]
        offset = source.start_byte + request.start * source.dtype.size_bytes
        read_into(files.reading(source.file), view.data, offset)
        raw.append(view)
        at += _aligned(size)
    return Load(request, tuple(raw))


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGN) * _ALIGN
