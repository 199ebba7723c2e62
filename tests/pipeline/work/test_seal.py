"""Sealing: a file is digested once, whole, and every piece in it is held against its receipt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import xxhash

from pipeline.checkpoint.files import digest_bytes, digest_file
from pipeline.errors import RunError, VerifyError
from pipeline.work import seal as room
from pipeline.work.seal import intact, seal


def pieces(data: bytes, bounds: list[tuple[int, int]]) -> list[tuple[int, int, str]]:
    """(start, stop, digest) as receipts have them."""
    return [(start, stop, xxhash.xxh3_128_hexdigest(data[start:stop])) for start, stop in bounds]


@pytest.mark.parametrize(
    "bounds", [[(0, 8), (8, 300), (300, 1000)], [(0, 8), (8, 8), (8, 1000)], [(0, 1000)]]
)
def test_the_seal_is_the_digest_of_the_whole_file(
    bounds: list[tuple[int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the pieces, and with chunks smaller than they are, the seal is the file's own digest."""
    monkeypatch.setattr(room, "_CHUNK_BYTES", 64)
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(range(250)) * 4)
    found = seal({"path": str(file), "pieces": pieces(file.read_bytes(), bounds)})
    assert found["digest"] == digest_file(file)


@pytest.mark.parametrize("at", [0, 3, 8, 399, 500, 999])
def test_any_damaged_byte_is_named_with_its_piece(at: int, tmp_path: Path) -> None:
    """One changed byte, in the header too, is a VerifyError with file and byte range."""
    file = tmp_path / "model.safetensors"
    bounds = [(0, 8), (8, 400), (400, 1000)]
    receipts = pieces(bytes(1000), bounds)
    file.write_bytes(bytes(at) + b"\1" + bytes(999 - at))
    with pytest.raises(VerifyError) as caught:
        seal({"path": str(file), "pieces": receipts})
    start, stop = next((start, stop) for start, stop in bounds if start <= at < stop)
    assert caught.value.where == f"{file}: bytes {start}-{stop}"


@pytest.mark.parametrize(
    "bounds",
    [[(8, 1000)], [(0, 8), (9, 1000)], [(0, 999)], [(0, 8), (8, 1001)], [], [(0, 8), (4, 1000)]],
)
def test_every_byte_is_proven_once(bounds: list[tuple[int, int]], tmp_path: Path) -> None:
    """Bytes of no piece, at the start, between two or at the end, a file too short and pieces that overlap
    are never sealed, though every piece has its digest.
    """
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(1000))
    with pytest.raises(VerifyError):
        seal({"path": str(file), "pieces": pieces(file.read_bytes(), bounds)})


def test_what_is_sealed_is_a_plain_file_of_ours(tmp_path: Path) -> None:
    """A link, a second name, a pipe in the place of a file are neither read nor waited for."""
    victim, place = tmp_path / "victim", tmp_path / "model.safetensors"
    victim.write_bytes(bytes(100))
    for replace in (
        lambda: place.symlink_to(victim),
        lambda: place.hardlink_to(victim),
        lambda: os.mkfifo(place),
        place.mkdir,
    ):
        replace()
        for check in (
            lambda: seal({"path": str(place), "pieces": pieces(bytes(100), [(0, 100)])}),
            lambda: intact({"pieces": [(str(place), 0, 100, digest_bytes(bytes(100)))]}),
        ):
            with pytest.raises(RunError, match="replaced by something else") as caught:
                check()
            assert caught.value.where == str(place)
        place.rmdir() if place.is_dir() and not place.is_symlink() else place.unlink()
