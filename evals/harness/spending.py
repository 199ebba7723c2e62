"""What pieces of work cost this worker: seconds, bytes read, peak memory. Kept until a unit takes them along.

It times and looks; it never decides anything.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_spent: list[dict[str, Any]] = []
_PROCESS = Path("/proc/self")


@contextmanager
def spending(kind: str, label: str, read_bytes: int = 0) -> Iterator[None]:
    """Note what happens inside as one piece of work, unless it raises.

    kind: "load", "merge" or "score".  label: of the model.  Peak memory is the most that was resident in this
    process while it went on. Where the system does not let it count anew (no Linux, a container's read-only
    /proc) it is the most since the process began.
    """
    _forget_peak()
    started = time.monotonic()
    yield
    elapsed_s = round(time.monotonic() - started, 3)
    _spent.append(
        {
            "kind": kind,
            "label": label,
            "seconds": elapsed_s,
            "read_bytes": read_bytes,
            "peak_bytes": _peak_bytes(),
        }
    )


def take_spent() -> list[dict[str, Any]]:
    """What was noted since the last time."""
    found = list(_spent)
    _spent.clear()
    return found


def _forget_peak() -> None:
    """Have Linux count the peak of resident memory from here on (proc(5), clear_refs)."""
    with suppress(OSError):  # no Linux, or a container whose /proc is read-only: `spending` says what follows
        (_PROCESS / "clear_refs").write_text("5")


def _peak_bytes() -> int:
    with suppress(OSError):
        for line in (_PROCESS / "status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) << 10
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest << 10
