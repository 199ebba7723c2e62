"""Models x tasks as units of work on any executor, with every finished score kept by content.

A score that the store has is never measured again; one whose model, task, data or settings changed is never
served. A unit that fails is named in the result while the others go on. It never imports lm_eval or ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.contract import Executor, Fault, Resources, Unit
from cluster.progress import Progress
from evals.content import Digests, record_key, task_digest
from evals.models import Model
from evals.record import Record, from_dict
from evals.setting import Setting
from evals.store import RecordStore
from evals.task import Task
from pipeline.errors import MergescaleError, UnitError

#: What a worker needs besides the weights: libraries and one batch of logits.
_WORKER_BYTES = 2 << 30


@dataclass(frozen=True)
class Failure:
    """A model and task that could not be scored, and why, in one line."""

    label: str
    model: str
    suite: str
    task: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """Records in the order asked for, `reused` of them came from the store.

    labels: the models asked about, in order, whether they have records or not.
    """

    records: tuple[Record, ...]
    failures: tuple[Failure, ...]
    reused: int
    labels: tuple[str, ...]


@dataclass(frozen=True)
class _Cell:
    """One score that was asked for."""

    key: str
    model: Model
    task: Task
    digest: str


def evaluate(
    pairs: Sequence[tuple[Model, Task]],
    executor: Callable[[], Executor],
    out_dir: Path,
    setting: Setting,
    *,
    digests: Digests | None = None,
    show_progress: bool = False,
) -> Evaluation:
    """Score each model on its task (data located) and write the tables of all of them in `out_dir`.

    Keep the pairs of one model together: a worker then loads it once. `executor` is called only if something
    is left to measure. ConfigError: a task that lm-eval refuses, before any model is loaded.
    """
    store = RecordStore(out_dir)
    digests = digests or Digests(out_dir / "digests.json")
    cells = _cells(pairs, setting, digests)
    found = {cell.key: store.get(cell.key) for cell in cells}
    todo = {cell.key: cell for cell in cells if found[cell.key] is None}
    missing = list(todo.values())
    failures: dict[str, str] = {}
    shown = show_progress and bool(missing)
    with Progress(len(missing), "evaluating", enabled=shown, unit="items") as progress:
        for cell, outcome in _run(missing, executor, setting):
            if isinstance(outcome, Record) and outcome.task_digest == cell.digest:
                store.put(cell.key, outcome)
                found[cell.key] = outcome
            else:
                changed = "the task or its data differ between this machine and the worker"
                failures[cell.key] = outcome.message if isinstance(outcome, Fault) else changed
            progress.advance(1, units=1)
    digests.save()
    records = [_stamped(record, cell) for cell in cells if (record := found[cell.key]) is not None]
    store.write_tables(records)
    failed = [_failure(cell, failures[cell.key]) for cell in cells if cell.key in failures]
    reused = sum(cell.key not in todo for cell in cells)
    labels = tuple(dict.fromkeys(cell.model.label for cell in cells))
    return Evaluation(tuple(records), tuple(failed), reused, labels)


def _cells(pairs: Sequence[tuple[Model, Task]], setting: Setting, digests: Digests) -> list[_Cell]:
    """Every score asked for, with its key. A task is digested once, however many models take it."""
    known: dict[int, str] = {}
    cells = []
    for model, task in pairs:
        if id(task) not in known:
            known[id(task)] = task_digest(task, digests)
        digest = known[id(task)]
        key = record_key(model.digest, task, digest, setting.items(task), setting.dtype)
        cells.append(_Cell(key, model, task, digest))
    return cells


def _run(
    missing: Sequence[_Cell], executor: Callable[[], Executor], setting: Setting
) -> Iterator[tuple[_Cell, Record | Fault]]:
    """Each missing cell with its record or fault, as they finish."""
    if not missing:
        return
    cells = {cell.key: cell for cell in missing}
    with executor() as running:
        _check(missing, running)
        for outcome in running.run(_unit(cell, setting, running.name) for cell in missing):
            cell = cells[outcome.unit_id]
            if outcome.fault is not None or outcome.value is None:
                yield cell, outcome.fault or Fault("program", "the unit gave nothing")
            else:
                yield cell, from_dict(outcome.value, cell.task.where)


def _check(missing: Sequence[_Cell], executor: Executor) -> None:
    """Have a worker load every task that is left, before any model. ConfigError: lm-eval refuses one."""
    tasks = list({cell.digest: cell.task for cell in missing}.values())
    for outcome in executor.run([Unit("check-tasks", check, {"tasks": tasks})]):
        if outcome.fault is not None:
            if isinstance(outcome.fault.exception, MergescaleError):
                raise outcome.fault.exception
            raise UnitError("the tasks could not be checked", found=outcome.fault.message)


def _unit(cell: _Cell, setting: Setting, executor: str) -> Unit:
    """The unit of work of a cell. Only Ray hands out GPUs; local workers share the one they see."""
    memory = int(1.2 * cell.model.weights_bytes) + _WORKER_BYTES
    on_gpu = setting.device.startswith("cuda") and executor == "ray"
    resources = Resources(cpus=setting.threads, gpus=1.0 if on_gpu else 0.0, memory_bytes=memory)
    return Unit(cell.key, measure, {"model": cell.model, "task": cell.task, "setting": setting}, resources)


def check(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The unit of work that comes first: load tasks, no model."""
    from evals.harness import check_tasks

    check_tasks(payload["tasks"])
    return {}


def measure(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The unit of work: one model on one task, in a worker. Returns the record as a plain dict."""
    from evals.harness import evaluate_model

    return evaluate_model(payload["model"], [payload["task"]], payload["setting"])[0].to_dict()


def _stamped(record: Record, cell: _Cell) -> Record:
    """A stored score under the names of this request: they are no part of the key and may have changed."""
    model, task = cell.model, cell.task
    return replace(
        record,
        model=model.path,
        label=model.label,
        base=model.base,
        method=model.method,
        suite=task.suite,
        role=task.role,
        category=task.category,
        task=task.name,
        task_version=task.version,
        higher_is_better=task.higher_is_better,
        chance=task.chance,
    )


def _failure(cell: _Cell, reason: str) -> Failure:
    line = " ".join(reason.split())
    return Failure(cell.model.label, cell.model.path, cell.task.suite, cell.task.name, line)
