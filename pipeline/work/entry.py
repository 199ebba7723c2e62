"""The door through which a driver names the work without loading it: what is heavy loads where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def run_unit(payload: Mapping[str, Any]) -> dict[str, Any]:
    """`pipeline.work.unit.run_unit`, imported in the worker. See there."""
    from pipeline.work.unit import run_unit as work

    return work(payload)
