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
from evals.merges import together
from evals.models import Model
from evals.record import Record, from_dict, names_of
from evals.setting import Setting
from evals.store import RecordStore
from evals.task import Task
from evals.units import answer_unit, check_unit, resources, score_unit
from pipeline.machine import available_memory_bytes, cores

#: A part of a task has at least so many documents: below, starting on it costs more than it saves.
_LEAST_ITEMS = 64
#: One part in so many of a worker's memory may hold merged models that wait to be scored.
_SHARE = 4
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
    """One score that was asked for. `name`: what people call it, of no other key."""

    key: str
    name: str
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
    also: Sequence[Path] = (),
    show_progress: bool = False,
) -> Evaluation:
    """Score each model on its task (data located) and write the tables of all of them in `out_dir`.

    Keep the pairs of one model together: a worker then loads it once. `executor` is called only if something
    is left to measure. `also`: other directories of scores; what they have is taken over.
    What cannot be scored is in `failures`; nothing is raised for it. InputError, before any work: nothing can
    be written in `out_dir`.
    """
    store = RecordStore(out_dir)
    store.prepare()
    digests = digests or Digests(out_dir / "digests.json")
    cells = _cells(pairs, setting, digests)
    found = {cell.key: store.get(cell.key) or store.adopt(cell.key, also) for cell in cells}
    todo = {cell.key: cell for cell in cells if found[cell.key] is None}
    failures: dict[str, str] = {}
    digests.save()  # before the work, so that a run that is ended need not read all weights again
    if todo:
        with executor() as running:
            todo = _grouped(todo, running.workers)
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


def keys_of(pairs: Sequence[tuple[Model, Task]], setting: Setting, digests: Digests) -> list[str]:
    """The name under which the store has, or will have, the record of each pair."""
    return [cell.key for cell in _cells(pairs, setting, digests)]


def _grouped(cells: Mapping[str, _Cell], workers: int) -> dict[str, _Cell]:
    """The cells, merges over common experts in groups: as many as workers, and none too large for one."""
    models = list({cell.model.digest: cell.model for cell in cells.values()}.values())
    # Workers on other machines are taken to have as much memory as those on this one.
    held_bytes = available_memory_bytes() // (_SHARE * min(workers, cores()))
    found = {model.digest: model for model in together(models, workers, held_bytes)}
    return {key: replace(cell, model=found[cell.model.digest]) for key, cell in cells.items()}


def _cells(pairs: Sequence[tuple[Model, Task]], setting: Setting, digests: Digests) -> list[_Cell]:
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
        cells.append(_Cell(key, name, model, task, digest))
    return cells


@dataclass(frozen=True)
class _Answer:
    """A unit of work: a cell, or one part of it."""

    cell: _Cell
    part: int
    parts: int
    items: int

    @property
    def name(self) -> str:
        """What people, and executors, call it."""
        return (
            self.cell.name if self.parts == 1 else f"{self.cell.name}, part {self.part + 1} of {self.parts}"
        )


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
            if _check_name(cell) in refused:
                yield cell, refused[_check_name(cell)]
        answers = self._cut([cell for cell in cells if _check_name(cell) not in refused])
        todo = [one for one in answers.values() if not self._kept(one)]
        total, left = (sum(one.items for one in some) for some in (answers.values(), todo))
        broken: set[str] = set()
        with Progress(total, "evaluating", enabled=self.show, unit="items", done=total - left) as progress:
            for outcome in self.executor.run(self._unit(one) for one in todo):
                one = answers[outcome.unit_id]
                progress.advance(one.items, units=1)
                if outcome.value is None:
                    if one.cell.key not in broken:
                        yield one.cell, _fault(outcome)
                    broken.add(one.cell.key)
                    continue
                self.store.note(outcome.value["spent"])
                if one.parts == 1:
                    yield one.cell, from_dict(outcome.value["answer"], one.cell.task.where)
                else:
                    self.store.put_part(self._part_name(one), outcome.value["answer"])
        yield from self._together([one for one in answers.values() if one.cell.key not in broken])

    def _check(self, cells: Sequence[_Cell]) -> dict[str, Fault]:
        """Have workers load every task, before any model; name of each one that is refused -> why."""
        tasks = {_check_name(cell): cell.task for cell in cells}
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
        there = int(self._facts[_check_name(cell)]["items"])
        limit = self.setting.items(cell.task)
        return there if limit is None else min(there, limit)

    def _cut(self, cells: Sequence[_Cell]) -> dict[str, _Answer]:
        """Unit name -> what it answers, model by model. Batches of no fixed size cannot be cut."""
        total = sum(self._items(cell) for cell in cells)
        wanted = max(_LEAST_ITEMS, total // (_PARTS_A_WORKER * self.executor.workers))
        found = {}
        for cell in cells:
            items = self._items(cell)
            parts = max(1, items // wanted) if self.setting.batch_size.isdecimal() else 1
            edges = [items * part // parts for part in range(parts + 1)]
            for part in range(parts):
                one = _Answer(cell, part, parts, edges[part + 1] - edges[part])
                found[one.name] = one
        return found

    def _unit(self, one: _Answer) -> Unit:
        model, task = one.cell.model, one.cell.task
        return answer_unit(one.name, model, task, self.setting, self.needs, one.part, one.parts)

    def _kept(self, one: _Answer) -> bool:
        """Whether an earlier run answered this part of a task."""
        return one.parts > 1 and self.store.get_part(self._part_name(one)) is not None

    def _together(self, answers: Sequence[_Answer]) -> Iterator[tuple[_Cell, Record | Fault]]:
        """Score the tasks that were answered in parts."""
        cut: dict[str, list[_Answer]] = {}
        for one in answers:
            if one.parts > 1:
                cut.setdefault(one.cell.name, []).append(one)
        for outcome in self.executor.run(self._score_unit(name, parts) for name, parts in cut.items()):
            cell = cut[outcome.unit_id][0].cell
            yield (
                cell,
                _fault(outcome) if outcome.value is None else from_dict(outcome.value, cell.task.where),
            )
            self.store.drop_parts(cell.key)

    def _score_unit(self, name: str, answers: Sequence[_Answer]) -> Unit:
        cell = answers[0].cell
        kept = [part for one in answers if (part := self.store.get_part(self._part_name(one))) is not None]
        return score_unit(name, cell.model, cell.task, self.setting, self.needs, kept)

    def _part_name(self, one: _Answer) -> str:
        """What a part's answers are kept under: how tasks are cut depends on the batch size too."""
        return f"{one.cell.key}-{one.part}-{one.parts}-{self.setting.batch_size}"


def _check_name(cell: _Cell) -> str:
    """The name of a task's check: tasks that ask the same with as many shots are checked once."""
    return f"check/{cell.digest}/{cell.task.shots}"


def _fault(outcome: Outcome) -> Fault:
    return outcome.fault or Fault("program", "the unit gave nothing")


def _stamped(record: Record, cell: _Cell) -> Record:
    """A stored score under the names of this request: they are no part of the key and may have changed."""
    return replace(record, **names_of(cell.model, cell.task))


def _failure(cell: _Cell, reason: str) -> Failure:
    line = " ".join(reason.split())
    return Failure(cell.model.label, cell.model.path, cell.task.suite, cell.task.name, line)
