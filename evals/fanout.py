"""Models x tasks as units of work on any executor, with every finished score kept by content.

A score that the store has is never measured again; one whose model, task, data or settings changed is never
served. A unit that fails is named in the result while the others go on. Where there are fewer scores to
measure than workers could, tasks are cut into parts. It never imports lm_eval or ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cluster.contract import Executor, Fault, Outcome, Resources, Unit
from cluster.progress import Progress
from evals.content import Digests, record_key, task_digest
from evals.models import Model
from evals.record import Record, from_dict
from evals.setting import Setting
from evals.store import RecordStore
from evals.task import Task
from evals.units import answer_unit, check_unit, resources, score_unit

#: A part of a task has at least so many documents: below, starting on it costs more than it saves.
_LEAST_ITEMS = 64
#: Parts are made so that each worker gets about so many.
_PARTS_A_WORKER = 4


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
    is left to measure. What cannot be scored is in `failures`; nothing is raised for it. InputError, before
    any work: nothing can be written in `out_dir`.
    """
    store = RecordStore(out_dir)
    store.prepare()
    digests = digests or Digests(out_dir / "digests.json")
    cells = _cells(pairs, setting, digests)
    found = {cell.key: store.get(cell.key) for cell in cells}
    todo = {cell.key: cell for cell in cells if found[cell.key] is None}
    failures: dict[str, str] = {}
    digests.save()  # before the work, so that a run that is ended need not read all weights again
    if todo:
        with executor() as running:
            needs = resources([cell.model for cell in todo.values()], setting, running.name)
            run = _Run(running, setting, needs, store, show_progress)
            for cell, outcome in run.scores(list(todo.values())):
                if isinstance(outcome, Record) and outcome.task_digest == cell.digest:
                    store.put(cell.key, outcome)
                    found[cell.key] = outcome
                else:
                    changed = "the task or its data differ between this machine and the worker"
                    failures[cell.key] = outcome.message if isinstance(outcome, Fault) else changed
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


@dataclass
class _Run:
    """One evaluation on a running executor: check tasks, answer them, score what was answered in parts."""

    executor: Executor
    setting: Setting
    needs: Resources
    store: RecordStore
    show: bool
    _facts: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def scores(self, cells: Sequence[_Cell]) -> Iterator[tuple[_Cell, Record | Fault]]:
        """Each cell with its record or fault, as they finish."""
        refused = self._check(cells)
        for cell in cells:
            if _name(cell) in refused:
                yield cell, refused[_name(cell)]
        sound = [cell for cell in cells if _name(cell) not in refused]
        items = {cell.key: self._items(cell) for cell in sound}
        parts = {key: self._parts(count, sum(items.values())) for key, count in items.items()}
        by_key = {cell.key: cell for cell in sound}
        broken: set[str] = set()
        with Progress(sum(items.values()), "evaluating", enabled=self.show, unit="items") as progress:
            for outcome in self.executor.run(self._answers(sound, parts)):
                key = outcome.unit_id.partition("/")[0]
                progress.advance(items[key] // parts[key], units=1)
                if outcome.value is None:
                    if key not in broken:
                        yield by_key[key], _fault(outcome)
                    broken.add(key)
                elif parts[key] == 1:
                    yield by_key[key], from_dict(outcome.value, by_key[key].task.where)
                else:
                    self.store.put_part(self._part_name(outcome.unit_id), outcome.value)
        cut = [cell for cell in sound if parts[cell.key] > 1 and cell.key not in broken]
        for outcome in self.executor.run(self._together(cut, parts)):
            cell = by_key[outcome.unit_id]
            yield (
                cell,
                _fault(outcome) if outcome.value is None else from_dict(outcome.value, cell.task.where),
            )
            self.store.drop_parts(cell.key)

    def _check(self, cells: Sequence[_Cell]) -> dict[str, Fault]:
        """Have workers load every task, before any model; name of each one that is refused -> why."""
        tasks = {_name(cell): cell.task for cell in cells}
        units = (
            check_unit(name, task, number % self.executor.workers, self.needs)
            for number, (name, task) in enumerate(tasks.items())
        )
        refused = {}
        with Progress(len(tasks), "loading tasks", enabled=self.show, unit="items") as progress:
            for outcome in self.executor.run(units):
                if outcome.value is None:
                    refused[outcome.unit_id] = _fault(outcome)
                else:
                    self._facts[outcome.unit_id] = outcome.value
                progress.advance(1, units=1)
        return refused

    def _items(self, cell: _Cell) -> int:
        """Documents that are scored."""
        there = int(self._facts[_name(cell)]["items"])
        limit = self.setting.items(cell.task)
        return there if limit is None else min(there, limit)

    def _parts(self, items: int, all_items: int) -> int:
        """Into how many parts a task of so many documents is cut. Batches of no fixed size cannot be cut."""
        if not self.setting.batch_size.isdecimal():
            return 1
        wanted = max(_LEAST_ITEMS, all_items // (_PARTS_A_WORKER * self.executor.workers))
        return max(1, items // wanted)

    def _answers(self, cells: Sequence[_Cell], parts: Mapping[str, int]) -> Iterator[Unit]:
        """Units for everything that is not answered yet, model by model."""
        for cell in cells:
            count = parts[cell.key]
            for part in range(count):
                name = cell.key if count == 1 else f"{cell.key}/{part}/{count}"
                if count > 1 and self.store.get_part(self._part_name(name)) is not None:
                    continue
                yield answer_unit(name, cell.model, cell.task, self.setting, self.needs, part, count)

    def _together(self, cells: Sequence[_Cell], parts: Mapping[str, int]) -> Iterator[Unit]:
        """Units that score the tasks all of whose parts are answered."""
        for cell in cells:
            count = parts[cell.key]
            names = [self._part_name(f"{cell.key}/{part}/{count}") for part in range(count)]
            answered = [part for name in names if (part := self.store.get_part(name)) is not None]
            yield score_unit(cell.key, cell.model, cell.task, self.setting, self.needs, answered)

    def _part_name(self, unit_id: str) -> str:
        """What a part's answers are kept under: how tasks are cut depends on the batch size too."""
        return f"{unit_id.replace('/', '-')}-{self.setting.batch_size}"


def _name(cell: _Cell) -> str:
    """The name of a task's check: tasks that ask the same with as many shots are checked once."""
    return f"check/{cell.digest}/{cell.task.shots}"


def _fault(outcome: Outcome) -> Fault:
    return outcome.fault or Fault("program", "the unit gave nothing")


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
