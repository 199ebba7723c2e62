"""Lay merged bytes down at their place in the pre-sized output files, beside the arithmetic. It knows no
method.

Two output buffers take turns: one is filled while the other is digested and written.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from pipeline.checkpoint.buffers import LINE_BYTES, skip_bytes
from pipeline.checkpoint.files import OpenFiles, start_writeback, write_from
from pipeline.plan.plan import TensorPlan
from pipeline.work.lanes import Lane
from pipeline.work.orders import Clock
from pipeline.work.reading import Bytes, Load
from pipeline.work.rounds import Walk


class Output:
    """The output files of one unit. Leaving the context waits for the last write and raises what went wrong
    with it. What is given no directory goes into its proof and is dropped. `buffers` are kept from unit to
    unit, so that their pages stay warm.
    """

    def __init__(self, lane: Lane, clock: Clock, buffers: list[Bytes | None]) -> None:
        self._lane, self._clock, self._buffers = lane, clock, buffers
        self._files = OpenFiles()
        self._pool = ThreadPoolExecutor(1, "write")
        self._pending: list[Future[None] | None] = [None, None]
        self._turn = 0

    def merge(self, walk: Walk, directory: str, proof: Any) -> None:
        """Apply the method to every tile of the walk's load; write as many at a time as a buffer holds."""
        tensor, first = walk.load.request.order.tensor, walk.load.request.start
        size = tensor.spec.dtype.size_bytes
        end = walk.load.request.stop - first
        tile = self._lane.tile(tensor)
        room = max(self._lane.load_elements, tile)
        filled_from = 0

        def buffer() -> Bytes:
            return self._buffer(room * size, _offset(tensor, first + filled_from))

        def place(start: int, stop: int) -> Bytes:
            return buffer()[(start - filled_from) * size : (stop - filled_from) * size]

        def done(start: int, stop: int) -> None:
            nonlocal filled_from
            if stop == end or stop + tile - filled_from > room:
                self._lane.settle()
                data = buffer()[: (stop - filled_from) * size]
                self._submit(_path(directory, tensor), data, _offset(tensor, first + filled_from), proof)
                filled_from = stop

        walk.apply(place, done)

    def copy(self, load: Load, directory: str, proof: Any) -> None:
        """Write the first input's bytes as they are."""
        raw = load.raw[0]
        tensor = load.request.order.tensor
        offset = _offset(tensor, load.request.start)
        data = self._buffer(raw.size, offset)[: raw.size]
        data[:] = raw
        self._submit(_path(directory, tensor), data, offset, proof)

    def _buffer(self, size_bytes: int, offset_bytes: int) -> Bytes:
        """The buffer whose turn it is, once its last write has finished; from where it goes to this offset at
        full speed.
        """
        pending, self._pending[self._turn] = self._pending[self._turn], None
        if pending is not None:
            mark = time.perf_counter()
            pending.result()
            self._clock.write_s += time.perf_counter() - mark
        held = self._buffers[self._turn]
        if held is None or held.size < size_bytes + LINE_BYTES:
            held = self._buffers[self._turn] = self._lane.allocate(size_bytes + LINE_BYTES)
        begin = skip_bytes(offset_bytes, held.ctypes.data)
        return held[begin : begin + size_bytes]

    def _submit(self, path: str | None, data: Bytes, offset_bytes: int, proof: Any) -> None:
        self._pending[self._turn] = self._pool.submit(self._write, path, data, offset_bytes, proof)
        self._turn = 1 - self._turn

    def _write(self, path: str | None, data: Bytes, offset_bytes: int, proof: Any) -> None:
        proof.update(data)
        if path is None:
            return
        fd = self._files.writing(path)
        write_from(fd, data.data, offset_bytes)
        start_writeback(fd, offset_bytes, data.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        mark = time.perf_counter()
        self._pool.shutdown(wait=True)
        self._clock.write_s += time.perf_counter() - mark
        self._files.close()
        if error is None:
            for pending in self._pending:
                if pending is not None:
                    pending.result()


def _path(directory: str, tensor: TensorPlan) -> str | None:
    """The file that a tensor is laid down in, if it is."""
    return os.path.join(directory, tensor.file) if directory else None


def _offset(tensor: TensorPlan, element: int) -> int:
    """Where one of the tensor's elements begins in its file."""
    return tensor.start_byte + element * tensor.spec.dtype.size_bytes
