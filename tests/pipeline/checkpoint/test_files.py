"""Positioned input and output, sized files, atomic writes, digests, descriptors."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import xxhash

from pipeline.checkpoint import files as files_module
from pipeline.checkpoint.files import (
    OpenFiles,
    atomic_write,
    create_sized,
    digest_bytes,
    digest_file,
    free_bytes,
    read_into,
    sync_directory,
    sync_file,
    write_from,
)
from pipeline.errors import RunError


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """A file of 1000 different-looking bytes."""
    path = tmp_path / "numbers"
    path.write_bytes(bytes(i * 7 % 251 for i in range(1000)))
    return path


def test_read_into_fills_the_buffer_from_the_offset(numbers: Path) -> None:
    """The bytes read are those at the offset, and nothing beyond the buffer is touched."""
    buffer = bytearray(b"\xee" * 60)
    with OpenFiles() as files:
        read_into(files.reading(str(numbers)), memoryview(buffer)[10:50], 123)
    assert bytes(buffer) == b"\xee" * 10 + numbers.read_bytes()[123:163] + b"\xee" * 10


def test_reads_and_writes_go_on_after_short_ones(numbers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that moves seven bytes at a time gives the same bytes."""
    preadv, pwrite = os.preadv, os.pwrite
    monkeypatch.setattr("os.preadv", lambda fd, buffers, offset: preadv(fd, [buffers[0][:7]], offset))
    monkeypatch.setattr("os.pwrite", lambda fd, data, offset: pwrite(fd, data[:7], offset))
    buffer = bytearray(500)
    with OpenFiles() as files:
        fd = files.writing(str(numbers))
        before = numbers.read_bytes()
        read_into(fd, memoryview(buffer), 100)
        write_from(fd, memoryview(buffer), 500)
    assert bytes(buffer) == before[100:600]
    assert numbers.read_bytes() == before[:500] + before[100:600]


def test_a_file_that_ends_early_is_named(numbers: Path) -> None:
    """Reading beyond the end is an error with the file, what was wanted and what was there."""
    with OpenFiles() as files, pytest.raises(RunError) as caught:
        read_into(files.reading(str(numbers)), memoryview(bytearray(20)), 990)
    assert caught.value.where == str(numbers)
    assert (caught.value.expected, caught.value.found) == ("20 bytes at 990", "10 bytes")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_stops_a_write_with_its_numbers(
    number: int, numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC and an exhausted quota become one clear error; others stay what they are."""

    pwrite = os.pwrite

    def full(fd: int, data: bytes, offset: int) -> int:
        if offset > 0:
            raise OSError(number, os.strerror(number))
        return pwrite(fd, data[:2], offset)

    monkeypatch.setattr("os.pwrite", full)
    with OpenFiles() as files, pytest.raises(RunError) as caught:
        write_from(files.writing(str(numbers)), memoryview(b"12345"), 0)
    assert caught.value.what == "no space left on the disk"
    assert caught.value.where == str(numbers)
    assert caught.value.expected == "3 more bytes"


def test_other_write_failures_pass_through(numbers: Path) -> None:
    """Writing to a descriptor that may only read is the system's own error."""
    with OpenFiles() as files, pytest.raises(OSError, match="descriptor"):
        write_from(files.reading(str(numbers)), memoryview(b"x"), 0)


def test_create_sized_reserves_the_space(tmp_path: Path) -> None:
    """The file has its full size, its header, zeros behind it, and its blocks are really taken."""
    path = tmp_path / "out"
    create_sized(path, 1 << 20, b"header")
    assert path.read_bytes() == b"header" + bytes((1 << 20) - 6)
    assert path.stat().st_blocks * 512 >= 1 << 20


def test_create_sized_keeps_what_was_written(tmp_path: Path) -> None:
    """On a longer, shorter or equal file it sets the size and keeps the bytes behind the header."""
    path = tmp_path / "out"
    for held in (b"old---data", b"old---data-and-more", b"old---da"):
        path.write_bytes(held)
        create_sized(path, 10, b"new")
        assert path.read_bytes() == (b"new" + held[3:10]).ljust(10, b"\0")


def test_create_sized_says_what_is_missing(tmp_path: Path) -> None:
    """A file larger than the free space is refused with both numbers before anything is made."""
    path = tmp_path / "out"
    size = free_bytes(tmp_path) + (1 << 40)
    with pytest.raises(RunError) as caught:
        create_sized(path, size, b"")
    assert caught.value.expected == f"{size:,} more bytes"
    assert caught.value.found.endswith("bytes free")
    assert not path.exists()


def test_create_sized_counts_the_space_a_file_holds_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk a file that is there is kept, and only the missing bytes of a longer one count."""
    path = tmp_path / "out"
    create_sized(path, 1 << 20, b"")
    held = path.stat().st_blocks * 512
    monkeypatch.setattr(files_module, "free_bytes", lambda _: 1000)
    create_sized(path, held + 1000, b"again")
    assert path.read_bytes()[:5] == b"again"
    with pytest.raises(RunError) as caught:
        create_sized(path, (8 << 20), b"")
    assert caught.value.expected == f"{(8 << 20) - path.stat().st_blocks * 512:,} more bytes"
    assert caught.value.found == "1,000 bytes free"


def test_create_sized_takes_a_half_made_file_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk fills while the space is being reserved, a new file is removed and an old one kept."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    (tmp_path / "old").write_bytes(b"old")
    for name in ("new", "old"):
        with pytest.raises(RunError, match="no space left"):
            create_sized(tmp_path / name, 100, b"")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_create_sized_works_where_space_cannot_be_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without reservation still gets a file of the right size."""

    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr("os.posix_fallocate", unsupported)
    create_sized(tmp_path / "out", 100, b"h")
    assert (tmp_path / "out").stat().st_size == 100


@pytest.mark.parametrize("size", [0, 1, (4 << 20) - 1, 4 << 20, (4 << 20) + 1])
def test_digest_of_a_file_is_that_of_its_bytes(size: int, tmp_path: Path) -> None:
    """Read in steps or at once, the digest is xxh3_128 of the bytes, and progress adds up to them."""
    content = bytes(i % 253 for i in range(997)) * (size // 997 + 1)
    path = tmp_path / "f"
    path.write_bytes(content[:size])
    steps: list[int] = []
    assert digest_file(path, progress=steps.append) == xxhash.xxh3_128_hexdigest(content[:size])
    assert sum(steps) == size


def test_digest_of_a_range(numbers: Path) -> None:
    """A range digests to the digest of its bytes; one that ends beyond the file is an error."""
    assert digest_file(numbers, 100, 300) == digest_bytes(numbers.read_bytes()[100:300])
    assert digest_file(numbers, 300) == digest_bytes(numbers.read_bytes()[300:])
    with pytest.raises(RunError):
        digest_file(numbers, 0, 1001)


def test_open_files_keeps_and_closes_descriptors(tmp_path: Path) -> None:
    """A file stays open between uses, at most `limit` are open, and none after the context."""
    paths = [tmp_path / str(i) for i in range(4)]
    for path in paths:
        path.write_bytes(b"x")

    def held() -> set[str]:
        links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
        return {os.readlink(link) for link in links if os.path.lexists(link)} & {str(path) for path in paths}

    with OpenFiles(limit=2) as files:
        first = files.reading(str(paths[0]))
        files.reading(str(paths[1]))
        assert files.reading(str(paths[0])) == first
        files.reading(str(paths[2]))
        assert held() == {str(paths[0]), str(paths[2])}
        write_from(files.writing(str(paths[0])), memoryview(b"y"), 0)
    assert held() == set()
    assert paths[0].read_bytes() == b"y"


def test_nothing_stays_open(tmp_path: Path) -> None:
    """No function leaves a descriptor behind."""

    def held() -> int:
        return len(os.listdir("/proc/self/fd"))

    path, before = tmp_path / "f", held()
    create_sized(path, 100, b"h")
    atomic_write(tmp_path / "g", b"x")
    digest_file(path)
    sync_file(path)
    sync_directory(tmp_path)
    assert held() == before
