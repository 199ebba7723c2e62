"""A file that one process at a time holds, by flock, which the kernel gives back however the process ends.

It is a regular file with one name: links and other things in its place are refused, never followed. A holder
may remove it; whoever waited for it then holds nothing, and opens the file that lies there now.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from pathlib import Path

from cluster.contract import ClusterError

LOCK_TRIES, LOCK_PAUSE_S = 5, 0.1  # long enough for somebody who only looks whether the file is held
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
#: What the system answers to O_NOFOLLOW on a link, and to opening a directory or a socket.
_NO_FILE = (errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO)


class HeldError(Exception):
    """Another process holds the file; `descriptor` is open for reading what it wrote there."""

    def __init__(self, descriptor: int) -> None:
        super().__init__("held by another process")
        self.descriptor = descriptor


def open_plain(path: Path, flags: int) -> int:
    """Open a regular file with one name, or make it when `flags` hold O_CREAT; returns the descriptor.

    Raises ClusterError for a link and whatever else lies there, OSError where the system cannot open it.
    """
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise _not_plain(path) from error
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
        return descriptor
    os.close(descriptor)
    raise _not_plain(path)


def open_locked(path: Path, flags: int) -> int:
    """Open or make the file at `path`, and hold it until the descriptor is closed.

    Raises HeldError while another process holds it, ClusterError where the file system has no locks or the
    file is none of its own, OSError where the system cannot open it.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = open_plain(path, flags | os.O_CREAT)
        try:
            _lock(descriptor, path)
        except HeldError:
            raise
        except BaseException:
            os.close(descriptor)
            raise
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # its last holder removed the file while we waited for it


def is_locked(path: Path) -> bool:
    """Whether a process holds the file at this moment. Raises OSError when it cannot be opened."""
    while True:
        try:
            descriptor = open_plain(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            if _is_at(descriptor, path):
                return True  # else the file was removed and perhaps made again: look at the new one
        finally:
            os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    for remaining in reversed(range(LOCK_TRIES)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if remaining:
                time.sleep(LOCK_PAUSE_S)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise ClusterError(
                f"the file system of {path} has no file locks ({error.strerror})",
                "mount it with locks (Lustre: -o flock; NFS: lockd), or put the output elsewhere",
            ) from error
    raise HeldError(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one that lies at `path` now."""
    held = os.fstat(descriptor)
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)


def _not_plain(path: Path) -> ClusterError:
    return ClusterError(
        f"{path} is a link or another thing that is no file of ours",
        "remove it, or start over in another directory",
    )
