"""Reading ahead: the right bytes in order, within the bound, and a clear end where a file cannot be read."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipeline.checkpoint.buffers import LINE_BYTES
from pipeline.checkpoint.synthetic import fill
from pipeline.plan.plan import Piece, Source, TensorPlan
from pipeline.values import DTYPES, TensorSpec
from pipeline.work.orders import PieceOrder
from pipeline.work.reading import Arena, Bytes, load_all, requests, sample_runs


def order(files: list[Path], numel: int, piece: Piece) -> PieceOrder:
    """A uint8 tensor that starts at byte 3 of every file."""
    sources = tuple(Source(str(file), 3, DTYPES["U8"]) for file in files)
    spec = TensorSpec("w", DTYPES["U8"], (numel,))
    return PieceOrder(TensorPlan(spec, "copy", sources, None, DTYPES["F32"], {}, "out", 0), piece)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three files of 1003 different bytes."""
    draw = random.Random(0)
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(draw.randbytes(1003))
    return paths


class Counting:
    """Allocates read buffers and knows how many bytes of them are alive."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, size_bytes: int) -> Bytes:
        self.sizes.append(size_bytes)
        return np.empty(size_bytes, np.uint8)


@pytest.mark.parametrize("limit_bytes", [1, 10**6])
@pytest.mark.parametrize("mode", ["stream", "resident"])
@pytest.mark.parametrize("forgets", [False, True])
def test_loads_bring_the_files_bytes_in_order(
    files: list[Path], mode: str, limit_bytes: int, forgets: bool
) -> None:
    """Streamed or held whole, with room for one load or for two, every byte arrives once and in order."""
    given = order(files, 1000, Piece(0, 100, 900, "resident" if mode == "resident" else "stream"))
    seen: list[list[bytes]] = [[], [], []]
    for load in load_all(list(requests([given], 64)), Arena(Counting()), limit_bytes, forgets=forgets):
        for number, raw in enumerate(load.raw):
            seen[number].append(raw.tobytes())
    assert len(seen[0]) == (1 if mode == "resident" else 13)
    for file, parts in zip(files, seen, strict=True):
        assert b"".join(parts) == file.read_bytes()[103:903]


def test_names_are_read_like_files(files: list[Path]) -> None:
    """A model that exists by name gives the bytes that its name stands for, at any place."""
    name = "synthetic:hidden=8,mlp=8,layers=1,kv=8,vocab=8/expert0"
    sources = (Source(name, 20, DTYPES["BF16"]), Source(str(files[0]), 0, DTYPES["BF16"]))
    spec = TensorSpec("w", DTYPES["BF16"], (400,))
    tensor = TensorPlan(spec, "merge", sources, None, DTYPES["F32"], {}, "out", 0)
    (load,) = load_all(
        list(requests([PieceOrder(tensor, Piece(0, 100, 300, "stream"))], 400)), Arena(Counting()), 1
    )
    expected = np.zeros(400, np.uint8)
    fill(name, expected.data, 20 + 200)
    assert load.raw[0].tobytes() == expected.tobytes()
    assert load.raw[1].tobytes() == files[0].read_bytes()[200:600]


@pytest.mark.parametrize("numel", [0, 1, 1 << 18, (1 << 18) + 1, 10**6, 10**8])
def test_a_sample_is_a_share_evenly_spread(numel: int) -> None:
    """All of few elements; of many a thirty-second but never less than 2^18, in runs that do not overlap."""
    runs = sample_runs(7, 7 + numel, least=1 << 18)
    sampled = sum(stop - start for start, stop in runs)
    assert runs[0][0] == 7 and runs[-1][1] == 7 + numel
    assert all(left[1] <= right[0] for left, right in pairwise(runs))
    if numel <= 1 << 18:
        assert sampled == numel
    else:
        assert max(numel / 32, 1 << 18) <= sampled <= max(numel / 32, 1 << 18) + (1 << 14)
        gaps = [right[0] - left[1] for left, right in pairwise(runs)]
        assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("numel", [1, 31, 500, 20_000, 600_000, 10**6, 10**8])
def test_a_sample_of_many_pieces_is_the_same_share_of_each(numel: int) -> None:
    """Small pieces are not heard more than large ones: a thirty-second of each, to a run's rounding."""
    runs = sample_runs(7, 7 + numel, least=0)
    assert all(7 <= start < stop <= 7 + numel for start, stop in runs)
    assert all(left[1] <= right[0] for left, right in pairwise(runs))
    assert 0 <= sum(stop - start for start, stop in runs) - numel / 32 <= len(runs)


@pytest.mark.parametrize("sizes", [(300, 900, 200, 800), (600, 700, 800), (900, 50, 50, 850), (1000,)])
def test_the_buffer_stays_within_the_bound(files: list[Path], sizes: tuple[int, ...]) -> None:
    """One buffer serves all loads: as large as the largest, or as two neighbours that fit together.

    On top comes a line an input and load, see `buffers.skip_bytes`.
    """
    allocate = Counting()
    given = [order(files, 1000, Piece(0, 0, numel, "resident")) for numel in sizes]
    for load in load_all(list(requests(given, 64)), Arena(allocate), 3072):
        content = [raw.tobytes() for raw in load.raw]
        assert content == [file.read_bytes()[3 : 3 + load.request.stop] for file in files]
    assert len(allocate.sizes) == 1 and allocate.sizes[0] <= 3072 + 2 * 3 * LINE_BYTES


def test_a_file_cut_short_is_named(files: list[Path]) -> None:
    """A file that ends before its tensor does is an error that names it."""
    files[1].write_bytes(files[1].read_bytes()[:500])
    given = order(files, 1000, Piece(0, 0, 1000, "stream"))
    with pytest.raises(Exception, match=str(files[1])):
        list(load_all(list(requests([given], 64)), Arena(Counting()), 10**6))
