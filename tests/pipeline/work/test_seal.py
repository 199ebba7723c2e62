"""Sealing: a file is digested once, whole, and every piece in it is held against its receipt."""

from __future__ import annotations

from pathlib import Path

import pytest
import xxhash

from pipeline.checkpoint.files import digest_file
from pipeline.errors import VerifyError
from pipeline.work import seal as room
from pipeline.work.seal import seal


def pieces(data: bytes, bounds: list[tuple[int, int]]) -> list[tuple[int, int, str]]:
    """(start, stop, digest) as receipts have them."""
    return [(start, stop, xxhash.xxh3_128_hexdigest(data[start:stop])) for start, stop in bounds]


@pytest.mark.parametrize("bounds", [[(8, 300), (300, 1000)], [(8, 8), (8, 999)], []])
def test_the_seal_is_the_digest_of_the_whole_file(
    bounds: list[tuple[int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the pieces, and with chunks smaller than they are, the seal is the file's own digest."""
    monkeypatch.setattr(room, "_CHUNK_BYTES", 64)
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(range(250)) * 4)
    found = seal({"path": str(file), "pieces": pieces(file.read_bytes(), bounds)})
    assert found["digest"] == digest_file(file)


def test_a_damaged_piece_is_named_with_its_bytes(tmp_path: Path) -> None:
    """One changed byte in a piece is a VerifyError with file and byte range."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(1000))
    receipts = pieces(file.read_bytes(), [(0, 400), (400, 1000)])
    file.write_bytes(bytes(500) + b"\1" + bytes(499))
    with pytest.raises(VerifyError) as caught:
        seal({"path": str(file), "pieces": receipts})
    assert caught.value.where == f"{file}: bytes 400-1000"
