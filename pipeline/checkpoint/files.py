"""Positioned reads and writes, durable small files, digests. Knows bytes and paths, nothing of tensors.

The functions of the hot loops (`read_into`, `write_from`) allocate nothing: the caller reuses its buffers,
which is several times faster than fresh memory. Linux first; elsewhere space is not reserved.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import xxhash

from pipeline.checkpoint.buffers import page_buffer
from pipeline.checkpoint.own import open_own, opened_own
from pipeline.checkpoint.unfinished import unfinished_beside
from pipeline.errors import CheckpointError, RunError
from pipeline.untrusted import open_regular, read_json

_DIGEST_BUFFER_BYTES = 4 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
#: What file systems answer that cannot flush a directory; their own metadata rules apply then.
_CANNOT_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
_local = threading.local()
_START_WRITE = 2  # SYNC_FILE_RANGE_WRITE


def _system_call(name: str) -> Callable[[int, int, int, int], int] | None:
    """sync_file_range(fd, offset, bytes, flags) of the C library, which Python does not offer."""
    found = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
    if found is not None:
        found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return found


_sync_file_range = _system_call("sync_file_range")


def read_into(fd: int, buffer: memoryview, offset: int) -> None:
    """Fill `buffer` (contiguous bytes) from the file at `offset`. Raises RunError if the file ends before."""
    done, size = 0, len(buffer)
    while done < size:
        got = os.preadv(fd, [buffer[done:]], offset + done)
        if got == 0:
            raise RunError(
                "file ended before the bytes its header promised",
                where=_path_of(fd),
                expected=f"{size} bytes at {offset}",
                found=f"{done} bytes",
                hint="do not change input files while a merge runs; start again with --fresh",
            )
        done += got


def write_from(fd: int, buffer: memoryview, offset: int) -> None:
    """Write all of `buffer` (contiguous bytes) at `offset`. Raises RunError when the disk is full."""
    done, size = 0, len(buffer)
    try:
        while done < size:
            done += os.pwrite(fd, buffer[done:], offset + done)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        path = _path_of(fd)
        raise _no_space(path, size - done, free_bytes(os.path.dirname(path))) from error


def start_writeback(fd: int, offset: int, size_bytes: int) -> None:
    """Let the system begin to bring written bytes to the disk, so that little is left to flush at the end.

    A hint: it returns at once, promises nothing, and does nothing where the system has no such call.
    """
    if _sync_file_range is not None:
        _sync_file_range(fd, offset, size_bytes, _START_WRITE)


def forget(fd: int, offset: int, size_bytes: int) -> None:
    """Tell the system that these bytes will not be read again, so that they make room for those that will.

    A hint, and none on systems without it.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, offset, size_bytes, os.POSIX_FADV_DONTNEED)


def create_sized(path: Path, size_bytes: int, header: bytes) -> None:
    """Make `path` exactly `size_bytes` long with its space reserved, with `header` at its start, all of that
    on the disk.

    A file that is there keeps its bytes beyond the header, so an interrupted run can go on. Raises RunError
    with the bytes needed and free when they do not fit, and for what is no plain file; a file this call made
    is then removed again.
    """
    made = not os.path.lexists(path)
    held = 0 if made else os.lstat(path).st_blocks * 512
    free = free_bytes(path.parent)
    if size_bytes - held > free:
        raise _no_space(str(path), size_bytes - held, free)
    with opened_own(path, os.O_RDWR | os.O_CREAT) as fd:
        try:
            if os.fstat(fd).st_size != size_bytes or held < size_bytes:
                os.ftruncate(fd, size_bytes)
                _reserve(fd, size_bytes)
            # Whatever a crash left of the header is written over, and is on the disk before a receipt is.
            write_from(fd, memoryview(header), 0)
            os.fsync(fd)
        except OSError as error:
            if made:
                path.unlink()
            if error.errno not in _FULL:
                raise
            raise _no_space(str(path), size_bytes, free_bytes(path.parent)) from error


def atomic_write(path: Path, content: bytes) -> None:
    """Put `content` at `path` durably: readers see the old file or the new one, even after a crash."""
    beside = unfinished_beside(path)
    try:
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_file(path: Path) -> None:
    """Flush a file's bytes to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_directory(path: Path) -> None:
    """Flush a directory's names to the disk, where the file system can."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH:
            raise
    finally:
        os.close(fd)


def digest_bytes(data: bytes | memoryview) -> str:
    """xxh3_128 of some bytes, 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(data)


def digest_file(
    path: str | Path,
    start: int = 0,
    stop: int | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> str:
    """xxh3_128 of bytes [start, stop) of a file (to its end when `stop` is None), 32 hex digits.

    Reads through one 4 MiB buffer per thread. `progress` is called with the number of bytes of each step.
    Raises RunError if the file is shorter than `stop`, CheckpointError if it is no regular file.
    """
    with open_regular(path) as file:
        fd = file.fileno()
        return digest_range(fd, start, os.fstat(fd).st_size if stop is None else stop, progress=progress)


def digest_range(fd: int, start: int, stop: int, *, progress: Callable[[int], None] | None = None) -> str:
    """xxh3_128 of bytes [start, stop) of an open file; see `digest_file`."""
    buffer, digest = _digest_buffer(), xxhash.xxh3_128()
    for offset in range(start, stop, _DIGEST_BUFFER_BYTES):
        part = buffer[: min(_DIGEST_BUFFER_BYTES, stop - offset)]
        read_into(fd, part, offset)
        digest.update(part)
        if progress is not None:
            progress(len(part))
    return digest.hexdigest()


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a small JSON file that must hold an object. Raises CheckpointError for anything else."""
    try:
        value = read_json(path)
    except FileNotFoundError as error:
        raise CheckpointError(
            "file cannot be read",
            where=str(path),
            found=error.strerror or str(error),
            hint="check that it is there and that links do not point to removed files",
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(
            "file holds the wrong kind of JSON",
            where=str(path),
            expected="an object",
            found=type(value).__name__,
        )
    return value


class OpenFiles:
    """A few open descriptors, the least recently used closed first. For one thread; its context closes them.

    A descriptor stays valid until `limit` other files have been asked for.
    """

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._open: OrderedDict[tuple[str, int], int] = OrderedDict()

    def reading(self, path: str) -> int:
        """A descriptor to read `path` with."""
        return self._get(path, os.O_RDONLY)

    def writing(self, path: str) -> int:
        """A descriptor to read and write `path` with: a file of ours that exists, see `open_own`."""
        return self._get(path, os.O_RDWR)

    def close(self) -> None:
        """Close every descriptor."""
        while self._open:
            _, fd = self._open.popitem()
            os.close(fd)

    def _get(self, path: str, flags: int) -> int:
        key = (path, flags)
        fd = self._open.pop(key, None)
        if fd is None:
            if len(self._open) >= self._limit:
                os.close(self._open.popitem(last=False)[1])
            fd = os.open(path, flags | os.O_CLOEXEC) if flags == os.O_RDONLY else open_own(path, flags)
        self._open[key] = fd
        return fd

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _digest_buffer() -> memoryview:
    buffer: memoryview | None = getattr(_local, "digest_buffer", None)
    if buffer is None:
        buffer = _local.digest_buffer = page_buffer(_DIGEST_BUFFER_BYTES)
    return buffer


def _reserve(fd: int, size_bytes: int) -> None:
    """Take the disk space of the first `size_bytes` now, on the file systems that can."""
    if not size_bytes or not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(fd, 0, size_bytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


def free_bytes(directory: str | Path) -> int:
    """Bytes this user can still write on the disk of `directory`."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def _no_space(path: str, needed: int, free: int) -> RunError:
    return RunError(
        "no space left on the disk",
        where=path,
        expected=f"{needed:,} more bytes",
        found=f"{free:,} bytes free",
        hint="free some space or choose an output directory on another disk; the same command resumes",
    )


def _path_of(fd: int) -> str:
    """The path behind a descriptor where the system tells it."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return f"descriptor {fd}"
