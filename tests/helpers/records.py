"""Records made up for tests: every field filled, only what a test is about written out."""

from __future__ import annotations

from typing import Any

from evals.record import Record
from evals.stderr import mean_stderr


def record(label: str, task: str, scores: list[float] | None = None, **fields: Any) -> Record:
    """A record of accuracy over `scores` (two right, two wrong unless given); `fields` replaces any field."""
    scores = [1.0, 0.0, 1.0, 0.0] if scores is None else scores
    values: dict[str, Any] = {
        "model": f"/models/{label}",
        "model_digest": f"digest of {label}",
        "label": label,
        "base": "",
        "method": "",
        "suite": "toy",
        "role": "held-in",
        "category": "choice",
        "task": task,
        "task_version": "1.0",
        "task_digest": f"digest of {task}",
        "shots": 0,
        "limit": None,
        "metric": "acc",
        "higher_is_better": True,
        "chance": 0.25,
        "value": sum(scores) / len(scores),
        "stderr": mean_stderr(scores),
        "n": len(scores),
        "truncated": 0,
        "elapsed_s": 0.1,
        "machine": "here",
        "device": "cpu",
        "dtype": "float32",
        "batch_size": "8",
        "mergescale": "0.1.0",
        "lm_eval": "0.4.13",
        "items": tuple(scores),
        **fields,
    }
    return Record(**values)
