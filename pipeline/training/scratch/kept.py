"""What a finished stage of a base left for a run that goes on: its log and weights, proven by one digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.checkpoint.files import digest_bytes, digest_file
from pipeline.errors import MergescaleError, RunError
from pipeline.untrusted import canonical_json, read_json


def finished_stage(done: Path, weights: Path) -> list[dict[str, Any]] | None:
    """Read the log of a stage that an earlier run finished; None where there is none, or where it or the
    weights beside it are not what that run wrote: the stage is then trained again.
    """
    try:
        held = read_json(done, error=RunError)
        log: list[dict[str, Any]] = held["log"]
        return log if held["seal"] == seal_stage(log, weights) else None
    except (OSError, MergescaleError, KeyError, TypeError):
        return None


def seal_stage(log: list[dict[str, Any]], weights: Path) -> str:
    """Digest a stage's log and weights together."""
    return digest_bytes(f"{canonical_json(log)} {digest_file(weights)}".encode())
