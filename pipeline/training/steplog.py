"""The steps of one training run, written as they happen and read by whoever watches. Knows no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

from pipeline.errors import CheckpointError
from pipeline.untrusted import parse_json, read_small

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


def step_from(values: Any) -> Step:
    """Make a step of plain data. Raises TypeError: fields are missing, unknown or no numbers."""
    step = Step(**values)
    for name, kind in get_type_hints(Step).items():
        value = getattr(step, name)
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise TypeError(f"{name} of a step is no {kind.__name__}")
    return step


def read_log(path: Path) -> list[Step]:
    """Read the whole steps of a log; a line that is being written, or is damaged, is left out.

    Raises OSError: no such file. CheckpointError: no file of a log's size.
    """
    return [step for line in _whole_lines(path) if (step := _step(line)) is not None]


def _whole_lines(path: Path) -> list[bytes]:
    return [line for line in read_small(path).splitlines(keepends=True) if line.endswith(b"\n")]


def _step(line: bytes) -> Step | None:
    """Read one line of a log; None where it is none."""
    try:
        return step_from(parse_json(line))
    except (ValueError, TypeError):
        return None


def progress_file(out: Path) -> Path:
    """Where the steps of the expert at `out` are written while it trains; gone when it has ended."""
    return out.with_name(f".{out.name}.steps.jsonl")


def last_step(out: Path) -> Step | None:
    """Read the newest whole step of the expert being trained for `out`; None before its first."""
    try:
        lines = _whole_lines(progress_file(out))
    except (OSError, CheckpointError):
        return None
    return next((step for line in reversed(lines) if (step := _step(line)) is not None), None)
