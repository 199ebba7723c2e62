"""Units of work that kill their worker (SIGKILL), in place of the engine's own `run_unit`.

The first unit that comes dies before it begins, the second after it has written and before it can say so.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.work.orders import UnitOrder
from pipeline.work.unit import run_unit

MARKER = "died-"


def run_unit_dying(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The unit's result, unless it is its turn to die."""
    order: UnitOrder = payload["order"]
    beside = Path(order.merges[0].directory).parent.parent  # the work directory holds what is ours alone
    if _turn(beside / f"{MARKER}before"):
        os.kill(os.getpid(), signal.SIGKILL)
    result = run_unit(payload)
    if _turn(beside / f"{MARKER}after"):
        os.kill(os.getpid(), signal.SIGKILL)
    return result


def _turn(marker: Path) -> bool:
    """Whether this process is the one that made the marker."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def run_unit_slowly(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The unit's result, after long enough for somebody to kill what runs it."""
    time.sleep(0.4)
    return run_unit(payload)
