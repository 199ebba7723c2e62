"""Open files of our own work: never through a link, never another kind of file, never one with a second name.

Whoever may write to the directory above could have put something else there, so that what we write would end
in a file of somebody else. Whose a directory is, is not decided here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import RunError

#: What the system answers to O_NOFOLLOW on a link, and to opening a directory or a socket.
_NO_FILE = (errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO)


def open_own(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file that this work made, or makes now when `flags` hold O_CREAT; returns the descriptor.

    Raises RunError unless it is a regular file with one name, OSError where the system cannot open it.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise _not_ours(path, "a link or another thing that is no file") from error
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
        return descriptor
    os.close(descriptor)
    raise _not_ours(
        path, "a file that has other names too" if stat.S_ISREG(status.st_mode) else "no regular file"
    )


@contextmanager
def opened_own(path: str | os.PathLike[str], flags: int = os.O_RDONLY) -> Iterator[int]:
    """`open_own` for the length of a context."""
    descriptor = open_own(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _not_ours(path: str | os.PathLike[str], found: str) -> RunError:
    return RunError(
        "a file of the merge under way was replaced by something else",
        where=str(path),
        expected="a regular file that this merge made",
        found=found,
        hint="see who else writes to that directory; remove what is there and run the same command again",
    )
