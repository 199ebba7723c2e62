"""Evaluate in this process: who is asked what, which units ran, and records without their times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from evals.content import Digests
from evals.fanout import Evaluation, evaluate
from evals.models import Model, describe_model
from evals.record import Record
from evals.setting import Setting
from evals.task import Task
from tests.helpers.inline import InlineExecutor

CHECK = "check/"


def pairs(models: Sequence[Path], tasks: Sequence[Task]) -> list[tuple[Model, Task]]:
    """Every model with every task."""
    return [(describe_model(path, Digests()), task) for path in models for task in tasks]


def run(
    asked: Sequence[tuple[Model, Task]], out: Path, setting: Setting | None = None
) -> tuple[Evaluation, list[str]]:
    """Evaluate in this process: (evaluation, ids of the units that ran, without the check)."""
    executor = InlineExecutor()
    found = evaluate(asked, lambda: executor, out, setting or Setting(limit=6))
    return found, [unit for unit in executor.ran if not unit.startswith(CHECK)]


def plain(records: Iterable[Record]) -> list[Record]:
    """Records without the time they took."""
    return [replace(record, elapsed_s=0.0) for record in records]
