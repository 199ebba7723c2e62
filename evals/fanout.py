"""Models x tasks as units of work on any executor, with every finished score kept by content.

A score that the store has is never measured again; one whose model, task, data or settings changed is never
served. A unit that fails is named in the result while the others go on. How the units run is running.py's.
It never imports lm_eval or ray.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.contract import Executor, Fault
from evals.content import Digests, record_key, task_digest
from evals.merges import together
from evals.models import Model, directories_of
from evals.record import Record, names_of
from evals.running import Cell, Run
from evals.setting import Setting
from evals.store import RecordStore
from evals.task import Task
from evals.units import resources
from pipeline.errors import MergescaleError
from pipeline.machine import available_memory_bytes, cores
from pipeline.output import check_apart

#: One part in so many of a worker's memory may hold merged models that wait to be scored.
HOLDING_SHARE = 4


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


def evaluate(
    pairs: Sequence[tuple[Model, Task]],
    executor: Callable[[], AbstractContextManager[Executor]],
    out_dir: Path,
    setting: Setting,
    *,
    digests: Digests | None = None,
    also: Sequence[Path] = (),
    show_progress: bool = False,
) -> Evaluation:
    """Score each model on its task (data located) and write the tables of all of them in `out_dir`.

    Keep the pairs of one model together: a worker then loads it once. `executor` is called only if something
    is left to measure. `also`: other directories of scores; what they have is taken over.
    What cannot be scored is in `failures`; nothing is raised for it. InputError, before any work: nothing can
    be written in `out_dir`, or it lies in a model that is read.
    """
    digests = digests or Digests(out_dir / "digests.json")
    cells = _cells(pairs, setting, digests)  # first: what is wrong with a task leaves no directory behind
    store = RecordStore(out_dir)
    check_apart(store.folder / "records", directories_of(model for model, _ in pairs))
    store.prepare()
    found = {cell.key: _stored(cell, store, also) for cell in cells}
    todo = {cell.key: cell for cell in cells if found[cell.key] is None}
    failures: dict[str, str] = {}
    digests.save()  # before the work, so that a run that is ended need not read all weights again
    if todo:
        with executor() as running:
            todo = _grouped(todo, running.workers)
            needs = resources([cell.model for cell in todo.values()], setting, running.name)
            run = Run(running, setting, needs, store, show_progress)
            for cell, outcome in run.scores(list(todo.values())):
                if isinstance(outcome, Record) and outcome.task_digest == cell.digest:
                    store.put(cell.key, outcome)
                    found[cell.key] = outcome
                else:
                    changed = "the task or its data differ between this machine and the worker"
                    failures[cell.key] = _reason(outcome) if isinstance(outcome, Fault) else changed
    records = [_stamped(record, cell) for cell in cells if (record := found[cell.key]) is not None]
    store.write_tables(records)
    failed = [_failure(cell, failures[cell.key]) for cell in cells if cell.key in failures]
    reused = sum(cell.key not in todo for cell in cells)
    labels = tuple(dict.fromkeys(cell.model.label for cell in cells))
    return Evaluation(tuple(records), tuple(failed), reused, labels)


def _stored(cell: Cell, store: RecordStore, also: Sequence[Path]) -> Record | None:
    """The score that a store has, if it says itself that it is of this model and task."""
    record = store.get(cell.key) or store.adopt(cell.key, also)
    asked = (cell.model.digest, cell.digest)
    return record if record is not None and (record.model_digest, record.task_digest) == asked else None


def keys_of(pairs: Sequence[tuple[Model, Task]], setting: Setting, digests: Digests) -> list[str]:
    """The name under which the store has, or will have, the record of each pair."""
    return [cell.key for cell in _cells(pairs, setting, digests)]


def _grouped(cells: Mapping[str, Cell], workers: int) -> dict[str, Cell]:
    """The cells, merges over common experts in groups: as many as workers, and none too large for one."""
    models = list({cell.model.digest: cell.model for cell in cells.values()}.values())
    # Workers on other machines are taken to have as much memory as those on this one.
    held_bytes = available_memory_bytes() // (HOLDING_SHARE * min(workers, cores()))
    found = {model.digest: model for model in together(models, workers, held_bytes)}
    return {key: replace(cell, model=found[cell.model.digest]) for key, cell in cells.items()}


def _cells(pairs: Sequence[tuple[Model, Task]], setting: Setting, digests: Digests) -> list[Cell]:
    """Every score asked for, with its key. A task is digested once, however many models take it."""
    known: dict[int, str] = {}
    keys: dict[str, str] = {}
    cells = []
    for model, task in pairs:
        if id(task) not in known:
            known[id(task)] = task_digest(task, digests)
        digest = known[id(task)]
        key = record_key(model.digest, task, digest, setting.items(task), setting.dtype)
        name = f"{model.label} on {task.suite}/{task.name}"
        if keys.setdefault(name, key) != key:  # directories of one name, say
            name += f" ({key})"
        cells.append(Cell(key, name, model, task, digest))
    return cells


def _stamped(record: Record, cell: Cell) -> Record:
    """A stored score under the names of this request: they are no part of the key and may have changed."""
    return replace(record, **names_of(cell.model, cell.task))


def _failure(cell: Cell, reason: str) -> Failure:
    return Failure(cell.model.label, cell.model.path, cell.task.suite, cell.task.name, reason)


def _reason(fault: Fault) -> str:
    """Why, in one line: what our own errors hold field by field, what others say as they say it."""
    error = fault.exception
    if not isinstance(error, MergescaleError):
        return " ".join(fault.message.split())
    return error.one_line
