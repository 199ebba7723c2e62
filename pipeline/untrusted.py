"""Read what comes from outside: small files, JSON, names, numbers; bounded, refusing in words.

Every file beside the weights, every name that a server lists and every number in an option passes through
here, so that a FIFO cannot hang a command, `/dev/zero` cannot fill its memory and `../..` cannot leave its
directory. Imports `errors` alone.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError, InputError, MergescaleError, shown

#: No file that is read whole is longer: a tokenizer.json of 300,000 entries has 40 MB.
SMALL_BYTES = 256 << 20
_MOST_DIGITS = 18
_MOST_NAME_BYTES = 255
_ErrorType = Callable[..., MergescaleError]


def read_small(
    path: str | os.PathLike[str],
    *,
    limit_bytes: int = SMALL_BYTES,
    error: _ErrorType = CheckpointError,
    follow_links: bool = True,
) -> bytes:
    """Read a whole regular file of at most `limit_bytes` bytes; never waits for a FIFO or a device.

    Args:
        path: the file.  limit_bytes: how long it may be.  error: the exception type that refusals have.
        follow_links: False for files of our own, which are never links.

    Raises:
        FileNotFoundError: nothing is there (a broken link included).
        error: it is not a regular file, it is too long, it grew while it was read, it cannot be read.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise error(
                    "not a regular file", where=str(path), expected="a file", found=_kind(status.st_mode)
                )
            raw = file.read(limit_bytes + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as cause:  # ValueError: a path with a NUL byte
        found = (cause.strerror if isinstance(cause, OSError) else None) or str(cause)
        raise error(
            "file cannot be read", where=str(path), found=found, hint="check what lies there"
        ) from cause
    if len(raw) > limit_bytes:
        raise error(
            "file is too long to be what its name says",
            where=str(path),
            expected=f"at most {limit_bytes:,} bytes",
            found=f"{max(status.st_size, len(raw)):,} bytes",
        )
    return raw


def parse_json(raw: bytes | str) -> Any:
    """Parse JSON text that `canonical_json` can write again; `Infinity` and `NaN` are let in, as Python does.

    Raises ValueError, with a message of one line, for everything else: bytes that are not UTF-8, bad JSON,
    nesting too deep, whole numbers of thousands of digits, halves of surrogate pairs.
    """
    try:
        value = json.loads(raw.decode("utf-8") if isinstance(raw, bytes) else raw)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("the nesting is too deep") from None
    except UnicodeEncodeError:
        raise ValueError("a text holds half of a surrogate pair, which is no character") from None
    return value


def canonical_json(value: object) -> str:
    """Write plain data as its one canonical text: sorted keys, no blanks, ASCII, floats exact.

    Floats that are not finite are written as Python writes them (`Infinity`, `NaN`), since configs of real
    models hold them.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def is_relative_name(name: object) -> bool:
    """Whether a name from outside may be joined to a directory of ours: it is relative, stays inside, and a
    file system can hold it.

    Refused: empty, absolute, empty parts, `.` and `..`, backslashes, control characters, parts of more than
    255 bytes, text that is not Unicode.
    """
    if not isinstance(name, str) or not name.isprintable() or "\\" in name:
        return False
    try:
        parts = [part.encode("utf-8") for part in name.split("/")]
    except UnicodeEncodeError:
        return False
    return all(0 < len(part) <= _MOST_NAME_BYTES and part not in (b".", b"..") for part in parts)


def admit_name(name: object, *, where: str) -> str:
    """Return a name from outside that may be joined to a directory of ours.

    Raises CheckpointError for any other, see `is_relative_name`.
    """
    if not is_relative_name(name):
        raise CheckpointError(
            "a file name from outside would leave its directory or cannot be a file's name",
            where=where,
            expected="a relative path without . and ..",
            found=ascii(name)[:200],
            hint="do not use this source; tell its owner",
        )
    assert isinstance(name, str)
    return name


def parse_whole(text: str, what: str, *, least: int = 0, most: int = 10**_MOST_DIGITS) -> int:
    """Parse a whole number from text. Raises InputError that names `what` unless least <= number <= most."""
    found = text.strip().replace("_", "")
    digits = found.removeprefix("+").removeprefix("-").lstrip("0")
    if (
        re.fullmatch(r"[-+]?[0-9]+", found)
        and len(digits) <= _MOST_DIGITS + 1
        and least <= int(found) <= most
    ):
        return int(found)
    raise InputError(
        f"{what} is not a number that can be used",
        expected=f"a whole number from {least} to {most}",
        found=shown(text, 60),
    )


def _kind(mode: int) -> str:
    """What a path that is no regular file is, in words."""
    kinds: tuple[tuple[Callable[[int], bool], str], ...] = (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((word for matches, word in kinds if matches(mode)), "something else")


def read_json(path: Path, *, limit_bytes: int = SMALL_BYTES, error: _ErrorType = CheckpointError) -> Any:
    """Read a small JSON file. Raises as `read_small` does, and `error` for what `parse_json` refuses."""
    raw = read_small(path, limit_bytes=limit_bytes, error=error)
    try:
        return parse_json(raw)
    except ValueError as cause:
        raise error(
            "file is not JSON", where=str(path), found=str(cause), hint="copy or download the file again"
        ) from cause
