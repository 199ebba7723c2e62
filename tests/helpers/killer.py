"""Units of work that kill their worker (SIGKILL) the first time, in place of the engine's own `run_unit`.

Chosen by the id of the unit, so that about one in five dies: before they begin, or after they have written but before they
can say so.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.work.orders import UnitOrder
from pipeline.work.unit import run_unit

MARKER = "died-"


def run_unit_dying_once(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The unit's result; on the first attempt of some units this process is killed before or after the work.
    """
    order: UnitOrder = payload["order"]
    when = int(order.id[-1], 16) % 10
    marker = Path(order.directory).parent / f"{MARKER}{order.id}"
    first = not marker.exists()
    if first and when < 2:
        marker.touch()
    if first and when == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    result = run_unit(payload)
    if first and when == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
