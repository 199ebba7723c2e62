"""Where a copy runs at full speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.checkpoint.buffers import LINE_BYTES, PAGE_BYTES, skip_bytes
from pipeline.plan.plan import Piece, Source, TensorPlan
from pipeline.values import DTYPES, TensorSpec
from pipeline.work.lanes import CpuLane
from pipeline.work.orders import Clock, PieceOrder
from pipeline.work.reading import Arena, Bytes, load_all, requests
from pipeline.work.writing import Output


def is_slow(to: int, source: int) -> bool:
    """Whether the place lies a few bytes further within its page than the source within its own."""
    return 0 < (to - source) % PAGE_BYTES < LINE_BYTES


def test_a_line_mends_every_slow_copy() -> None:
    """Wherever the two sides lie, moving either on as told leaves no slow copy; no fast one moves."""
    for source in (0, 8, 4090, 10**9 + 1):
        for distance in range(PAGE_BYTES):
            to = source + 3 * PAGE_BYTES + distance
            moved = skip_bytes(to, source)
            assert (moved > 0) == is_slow(to, source)
            assert not is_slow(to + moved, source) and not is_slow(to, source + moved)


def test_lanes_buffers_begin_with_a_cache_line() -> None:
    """Loops work on memory that begins with one, whatever its size."""
    for size_bytes in (1, 1000, 10**7):
        held = CpuLane().allocate(size_bytes)
        assert held.ctypes.data % LINE_BYTES == 0 and held.size == size_bytes


@pytest.mark.parametrize("begins", [0, 1, 8, 16, 40, 63, 64, 2000, 4095])
def test_no_input_is_read_and_no_output_written_slowly(
    tmp_path: Path, begins: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the offsets of tensors in their files, copies run at full speed and bytes are right."""
    content = np.random.default_rng(begins).bytes(begins + 1000)
    file, out = tmp_path / "in", tmp_path / "out"
    file.write_bytes(content)
    out.write_bytes(bytes(begins + 1000))
    spec = TensorSpec("w", DTYPES["U8"], (1000,))
    sources = (Source(str(file), begins, DTYPES["U8"]),) * 3
    tensor = TensorPlan(spec, "copy", sources, None, DTYPES["F32"], {}, "out", begins)
    order = PieceOrder(tensor, Piece(0, 0, 1000, "stream"))
    written: list[tuple[int, int]] = []
    submit = Output._submit

    def submitted(self: Output, path: str | None, data: Bytes, offset_bytes: int, digest: object) -> None:
        written.append((offset_bytes, data.ctypes.data))
        submit(self, path, data, offset_bytes, digest)

    monkeypatch.setattr(Output, "_submit", submitted)
    lane = CpuLane()
    with Output(lane, Clock(), [None, None]) as output:
        for load in load_all(list(requests([order], 64)), Arena(lane.allocate), 10**6):
            assert not any(is_slow(raw.ctypes.data, begins + load.request.start) for raw in load.raw)
            output.copy(load, str(tmp_path), _Unread())
    assert written and not any(is_slow(offset, source) for offset, source in written)
    assert out.read_bytes()[begins:] == content[begins:]


class _Unread:
    """Takes what would be digested."""

    def update(self, data: Bytes) -> None:
        """Nothing is kept."""
