"""Copy small files of a model, which are input: only regular files of the model itself, in pieces, and only
while they are what they were when they were looked at.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import xxhash

from pipeline.checkpoint.files import sync_directory
from pipeline.checkpoint.unfinished import unfinished_beside
from pipeline.errors import CheckpointError
from pipeline.untrusted import SMALL_BYTES, is_relative_name

_PIECE_BYTES = 1 << 20
_POINTER, _MOST_POINTER_BYTES = b"version https://git-lfs.github.com/spec/", 1024
_SNAPSHOTS, _BLOBS, _REPOSITORY = "snapshots", "blobs", "models--"
_BLOB_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def look_at(directory: Path, name: str) -> tuple[int, str]:
    """Size and xxh3_128 of a file that is to be copied later; it is opened and read now.

    Raises CheckpointError for whatever cannot be copied: a name that no manifest can hold, a broken link or
    one that leaves the model, what is not a regular file, what cannot be read, more than `SMALL_BYTES`, a
    pointer that Git LFS left in the place of a file.
    """
    path = directory / name
    if not is_relative_name(name):
        raise _cannot(
            name,
            path,
            expected="a name of printable text in UTF-8, at most 255 bytes a part",
            found=ascii(name)[:200],
            hint="rename the file, or move it out of the model's directory",
        )
    _stays_inside(directory, name)
    with _opened(path, name) as descriptor:
        status = os.fstat(descriptor)
        if status.st_size > SMALL_BYTES:
            raise _cannot(
                name, path, expected=f"at most {SMALL_BYTES:,} bytes", found=f"{status.st_size:,} bytes"
            )
        if status.st_size <= _MOST_POINTER_BYTES and os.pread(descriptor, len(_POINTER), 0) == _POINTER:
            hint = "run `git lfs pull` in the repository, or move the file elsewhere"
            raise _cannot(name, path, found="a Git LFS pointer, not the file itself", hint=hint)
        seen = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return status.st_size, _digest(str(path), name, seen)


def copy_checked(source: Path, target: Path, size_bytes: int, digest: str) -> None:
    """Copy a file durably, in pieces; `target` appears when it is whole, and is left alone where it is so.

    Raises CheckpointError: the source cannot be read, or is not any more what `look_at` saw.
    """
    if _is_copy(target, size_bytes, digest):
        return
    beside = unfinished_beside(target)
    state = xxhash.xxh3_128()
    try:
        with _opened(source, source.name) as descriptor, open(beside, "xb") as file:
            for piece in _pieces(descriptor, size_bytes + 1):
                state.update(piece)
                file.write(piece)
            if state.hexdigest() != digest:
                raise CheckpointError(
                    f"{source.name} changed since the merge was planned",
                    where=str(source),
                    expected=f"{size_bytes:,} bytes of digest {digest}",
                    found=f"digest {state.hexdigest()}",
                    hint="do not change input files while a merge runs; --fresh starts over with the new one",
                )
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    sync_directory(target.parent)


def _is_copy(path: Path, size_bytes: int, digest: str) -> bool:
    """Whether a regular file at `path`, no link, has these very bytes already."""
    try:
        status = path.lstat()
    except OSError:
        return False
    if not stat.S_ISREG(status.st_mode) or status.st_size != size_bytes:
        return False
    with _opened(path, path.name) as descriptor:
        state = xxhash.xxh3_128()
        for piece in _pieces(descriptor, size_bytes + 1):
            state.update(piece)
    return state.hexdigest() == digest


@lru_cache(maxsize=4096)
def _digest(path: str, name: str, seen: tuple[int, ...]) -> str:
    """xxh3_128 of a file, read once as long as it stays as it was `seen` (device, inode, size, times)."""
    state = xxhash.xxh3_128()
    with _opened(Path(path), name) as descriptor:
        for piece in _pieces(descriptor, seen[2]):
            state.update(piece)
    return state.hexdigest()


def _pieces(descriptor: int, most_bytes: int) -> Iterator[bytes]:
    """Yield the bytes of the file from its start, at most `most_bytes` of them."""
    done = 0
    while done < most_bytes:
        piece = os.pread(descriptor, min(_PIECE_BYTES, most_bytes - done), done)
        if not piece:
            return
        done += len(piece)
        yield piece


@contextmanager
def _opened(path: Path, name: str) -> Iterator[int]:
    """A descriptor of a regular file; never waits for another kind. Raises CheckpointError in words."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # before it is opened: opening a device can do something
            raise _cannot(name, path, expected="a regular file", found="a pipe, a device or the like")
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        found = "a link to a file that is gone" if os.path.islink(path) else "no such file"
        raise _cannot(name, path, found=found, hint="bring the file back, or take the link away") from error
    except (OSError, ValueError) as error:
        found = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise _cannot(name, path, found=found, hint="check that it is there and readable") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _cannot(name, path, expected="a regular file", found="a pipe, a device or the like")
        try:
            yield descriptor
        except OSError as error:
            raise _cannot(name, path, found=error.strerror or str(error)) from error
    finally:
        os.close(descriptor)


def _stays_inside(directory: Path, name: str) -> None:
    """Raise CheckpointError where a link leads out of the model, other than to a blob of the Hub's cache."""
    model, real = Path(os.path.realpath(directory)), Path(os.path.realpath(directory / name))
    if model in real.parents:
        return
    in_cache = real.parent.name == _BLOBS and real.parent.parent.name.startswith(_REPOSITORY)
    if in_cache or any(_is_own_blob(real, place) for place in {model, Path(os.path.abspath(directory))}):
        return
    raise _cannot(
        name,
        directory / name,
        expected="a file in the model's directory",
        found=f"a link to {real}",
        hint="copy the file into the model's directory in place of the link: nothing from outside a model is "
        "published",
    )


def _is_own_blob(real: Path, model: Path) -> bool:
    """Whether a file lies among the blobs of the Hub's cache that `model` is a snapshot of.

    They may lie on another disk. There only names of blobs count, which are digests: a model that was brought
    with its whole repository could have made a link to any directory and called it blobs.
    """
    blobs = model.parent.parent / _BLOBS
    if model.parent.name != _SNAPSHOTS or real.parent != Path(os.path.realpath(blobs)):
        return False
    return not blobs.is_symlink() or bool(_BLOB_NAME.fullmatch(real.name))


def _cannot(name: str, path: Path, *, expected: str = "", found: str, hint: str = "") -> CheckpointError:
    return CheckpointError(
        f"{name} cannot be copied into the merged model",
        where=str(path),
        expected=expected,
        found=found,
        hint=hint or "move it out of the model's directory if it does not belong to the model",
    )
