"""Fixtures that several wings share, and where temporary files of tests lie."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tests.helpers.cluster import three_nodes

__all__ = ["three_nodes"]

#: Memory-backed files; tests that look at what a crash leaves do so by killing processes, not machines.
_IN_MEMORY, _ENOUGH_BYTES = Path("/dev/shm"), 8 << 30
_ROOT = "PYTEST_DEBUG_TEMPROOT"


def _leave(root: Path, pid: int) -> None:
    """Remove the directory of temporary files unless it holds what failed tests left to look at."""
    if os.getpid() == pid and not any(path.is_dir() for path in root.glob("pytest-of-*/pytest-[0-9]*")):
        shutil.rmtree(root, ignore_errors=True)


if _ROOT not in os.environ and _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free >= _ENOUGH_BYTES:
    # A directory of this run alone: runs side by side would clear each other's away.
    _root = Path(tempfile.mkdtemp(prefix="mergescale-tests-", dir=_IN_MEMORY))
    os.environ[_ROOT] = str(_root)
    atexit.register(_leave, _root, os.getpid())
