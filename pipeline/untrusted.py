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
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.errors import CheckpointError, InputError, MergescaleError, shown

#: No file that is read whole is longer: a tokenizer.json of 300,000 entries has 40 MB.
SMALL_BYTES = 256 << 20
#: No row of training data or of a corpus is longer.
LINE_BYTES = 64 << 20
#: Values of one JSON text: each costs some 60 bytes of memory. A table of a million tensors has fewer.
MOST_JSON_VALUES = 8_000_000
_MOST_DIGITS = 18
_MOST_NAME_BYTES = 255
_ErrorType = Callable[..., MergescaleError]


def open_regular(
    path: str | os.PathLike[str], *, error: _ErrorType = CheckpointError, follow_links: bool = True
) -> BinaryIO:
    """Open a regular file for reading; never waits for a FIFO, never reads from a device.

    Args:
        path: the file.  error: the exception type that refusals have.
        follow_links: False for files of our own, which are never links.

    Raises:
        FileNotFoundError: nothing is there (a broken link included).
        error: it is not a regular file, or it cannot be opened.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    try:
        file = open(os.open(path, flags), "rb")  # noqa: SIM115 - the caller closes it
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as cause:  # ValueError: a path with a NUL byte
        raise _unreadable(path, cause, error) from cause
    mode = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(mode):
        file.close()
        raise error("not a regular file", where=str(path), expected="a file", found=kind_of(mode))
    return file


def read_small(
    path: str | os.PathLike[str],
    *,
    limit_bytes: int = SMALL_BYTES,
    error: _ErrorType = CheckpointError,
    follow_links: bool = True,
) -> bytes:
    """Read a whole regular file of at most `limit_bytes` bytes. Opens it as `open_regular` does.

    Raises:
        FileNotFoundError: nothing is there (a broken link included).
        error: it is not a regular file, it is too long, it grew while it was read, it cannot be read.
    """
    with open_regular(path, error=error, follow_links=follow_links) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        try:
            raw = file.read(limit_bytes + 1) if size_bytes <= limit_bytes else b""
        except OSError as cause:
            raise _unreadable(path, cause, error) from cause
    if max(size_bytes, len(raw)) > limit_bytes:
        raise error(
            "file is too long to be what its name says",
            where=str(path),
            expected=f"at most {limit_bytes:,} bytes",
            found=f"{max(size_bytes, len(raw)):,} bytes",
        )
    return raw


def read_lines(
    path: str | os.PathLike[str], *, limit_bytes: int = LINE_BYTES, error: _ErrorType = InputError
) -> Iterator[str]:
    r"""Yield the lines of a UTF-8 text file one at a time, without their line end (`\n` alone).

    Args:
        path: the file, opened as `open_regular` does.  limit_bytes: how long one line may be.

    Raises:
        FileNotFoundError: nothing is there.
        error: not a regular file, not UTF-8, a line that is too long; `where` names the line.
    """
    with open_regular(path, error=error) as file:
        for number in count(1):
            try:
                raw = file.readline(limit_bytes + 1)
            except OSError as cause:
                raise _unreadable(path, cause, error) from cause
            if not raw:
                return
            if len(raw) > limit_bytes:
                raise error(
                    "a line is too long",
                    where=f"{path}, line {number}",
                    expected=f"at most {limit_bytes:,} bytes",
                    found="more",
                )
            try:
                yield raw.decode("utf-8").removesuffix("\n")
            except UnicodeDecodeError as cause:
                raise error("not UTF-8 text", where=f"{path}, line {number}", found=str(cause)) from cause


def _unreadable(path: object, cause: Exception, error: _ErrorType) -> MergescaleError:
    found = (cause.strerror if isinstance(cause, OSError) else None) or str(cause)
    return error("file cannot be read", where=str(path), found=found, hint="check what lies there")


def parse_json(raw: bytes | str) -> Any:
    """Parse JSON text that `canonical_json` can write again; `Infinity` and `NaN` are let in, as Python does.

    Raises ValueError, with a message of one line, for everything else: bytes that are not UTF-8, bad JSON,
    nesting too deep, whole numbers of thousands of digits, halves of surrogate pairs, more than
    `MOST_JSON_VALUES` values.
    """
    if count_json_values(raw) > MOST_JSON_VALUES:
        raise ValueError(f"more than {MOST_JSON_VALUES:,} values")
    try:
        value = json.loads(raw.decode("utf-8") if isinstance(raw, bytes) else raw)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("the nesting is too deep") from None
    except UnicodeEncodeError:
        raise ValueError("a text holds half of a surrogate pair, which is no character") from None
    return value


def count_json_values(raw: bytes | str, exact_from: int = MOST_JSON_VALUES) -> int:
    """Count the values of a JSON text, roughly and without parsing it: its brackets, braces and commas.

    Those inside of texts are left out where the rough count, which is quick, is above `exact_from`.
    """
    data = raw.encode("utf-8", "replace") if isinstance(raw, str) else raw
    rough = sum(data.count(mark) for mark in (b"[", b"{", b","))
    if rough <= exact_from:
        return rough
    bare = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", data, flags=re.DOTALL)
    return sum(bare.count(mark) for mark in (b"[", b"{", b","))


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


def kind_of(mode: int) -> str:
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
