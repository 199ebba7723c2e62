"""The steps of one training run, written as they happen and read by whoever watches. Knows no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

#: In an expert's directory: one JSON line a step.
LOG = "training_log.jsonl"


@dataclass(frozen=True)
class Step:
    """One optimiser step: mean cross-entropy of its answer tokens (nats), gradient norm before clipping,
    tokens read, seconds since training began (those of interrupted runs included).
    """

    step: int
    steps: int
    loss: float
    grad_norm: float
    learning_rate: float
    tokens: int
    elapsed_s: float


def as_lines(steps: Iterable[Step]) -> str:
    """The steps as JSON lines."""
    return "".join(json.dumps(asdict(step)) + "\n" for step in steps)


def read_log(path: Path) -> list[Step]:
    """The whole steps of a log; a last line that is being written is left out. OSError: no such file."""
    lines = path.read_bytes().splitlines(keepends=True)
    return [Step(**json.loads(line)) for line in lines if line.endswith(b"\n")]


def progress_file(out: Path) -> Path:
    """Where the steps of the expert at `out` are written while it trains; gone when it has ended."""
    return out.with_name(f".{out.name}.steps.jsonl")


def last_step(out: Path) -> Step | None:
    """The newest whole step of the expert being trained for `out`, None before its first."""
    try:
        lines = progress_file(out).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return None
    whole = [line for line in lines if line.endswith(b"\n")]
    return Step(**json.loads(whole[-1])) if whole else None
