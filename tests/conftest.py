"""Fixtures that several wings share, and where temporary files of tests lie."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.helpers.cluster import three_nodes

__all__ = ["three_nodes"]

#: Memory-backed files; tests that look at what a crash leaves do so by killing processes, not machines.
_IN_MEMORY, _ENOUGH_BYTES = Path("/dev/shm"), 8 << 30

if _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free >= _ENOUGH_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_IN_MEMORY))
