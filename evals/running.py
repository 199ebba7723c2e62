"""One evaluation on a running executor: tasks are checked, answered whole or in parts, parts put together.

Tasks that are much of what a worker has to do are cut, so that workers end together and little is lost. It
does not decide which scores are wanted, and keeps no record itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.contract import Executor, Fault, Outcome, Resources, Unit
from cluster.progress import Progress
from evals.models import Model
from evals.record import Record, from_dict
from evals.setting import Setting
from evals.store import RecordStore
from evals.task import Task
from evals.units import answer_unit, check_unit, score_unit

#: A part of a task has at least so many documents: below, starting on it costs more than it saves.
_LEAST_ITEMS = 64
#: Parts are made so that each worker gets about so many.
_PARTS_A_WORKER = 4


@dataclass(frozen=True)
class Cell:
    """One score that was asked for. `name`: what people call it, of no other key."""

    key: str
    name: str
    model: Model
    task: Task
    digest: str


@dataclass(frozen=True)
class _Answer:
    """A unit of work: a cell, or one part of it."""

    cell: Cell
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
class Run:
    """One evaluation: check tasks, answer them, score what was answered in parts."""

    executor: Executor
    setting: Setting
    needs: Resources
    store: RecordStore
    show: bool
    _facts: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def scores(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, Record | Fault]]:
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
                elif one.parts == 1:
                    yield one.cell, self._whole(one.cell, outcome)
                    self.store.drop_parts(one.cell.key)  # of an earlier run that cut the task
                else:
                    self.store.note(outcome.value["spent"])
                    self.store.put_part(self._part_name(one), outcome.value["answer"])
        yield from self._together([one for one in answers.values() if one.cell.key not in broken])

    def _check(self, cells: Sequence[Cell]) -> dict[str, Fault]:
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

    def _items(self, cell: Cell) -> int:
        """Documents that are scored."""
        there = int(self._facts[_check_name(cell)]["items"])
        limit = self.setting.items(cell.task)
        return there if limit is None else min(there, limit)

    def _cut(self, cells: Sequence[Cell]) -> dict[str, _Answer]:
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

    def _whole(self, cell: Cell, outcome: Outcome) -> Record | Fault:
        """What came of a unit that answers a whole task."""
        if outcome.value is None:
            return _fault(outcome)
        self.store.note(outcome.value["spent"])
        return from_dict(outcome.value["answer"], cell.task.where)

    def _together(self, answers: Sequence[_Answer]) -> Iterator[tuple[Cell, Record | Fault]]:
        """Score the tasks that were answered in parts.

        A part may be gone: another run on this store took the parts for its own score, or a file was damaged
        since. Then that score is served, or else the task is answered again, as a whole.
        """
        cut: dict[str, list[_Answer]] = {}
        for one in answers:
            if one.parts > 1:
                cut.setdefault(one.cell.name, []).append(one)
        lost: dict[str, Cell] = {}
        for outcome in self.executor.run(self._score_units(cut, lost)):
            cell = cut[outcome.unit_id][0].cell
            value = outcome.value
            yield cell, _fault(outcome) if value is None else from_dict(value, cell.task.where)
            self.store.drop_parts(cell.key)
        measured = {name: self.store.get(cell.key) for name, cell in lost.items()}
        yield from ((lost[name], record) for name, record in measured.items() if record is not None)
        again = [_Answer(lost[name], 0, 1, 0) for name, record in measured.items() if record is None]
        for outcome in self.executor.run(self._unit(one) for one in again):
            cell = lost[outcome.unit_id]
            yield cell, self._whole(cell, outcome)
            self.store.drop_parts(cell.key)

    def _score_units(self, cut: Mapping[str, Sequence[_Answer]], lost: dict[str, Cell]) -> Iterator[Unit]:
        """A unit for each task whose answers are all there; the others go into `lost`."""
        for name, answers in cut.items():
            cell = answers[0].cell
            parts = [self.store.get_part(self._part_name(one)) for one in answers]
            kept = [part for part in parts if part is not None]
            if len(kept) == len(parts):
                yield score_unit(name, cell.model, cell.task, self.setting, self.needs, kept)
            else:
                lost[name] = cell

    def _part_name(self, one: _Answer) -> str:
        """What a part's answers are kept under: how tasks are cut depends on the batch size too."""
        return f"{one.cell.key}-{one.part}-{one.parts}-{self.setting.batch_size}"


def _check_name(cell: Cell) -> str:
    """The name of a task's check: tasks that ask the same with as many shots are checked once."""
    return f"check/{cell.digest}/{cell.task.shots}"


def _fault(outcome: Outcome) -> Fault:
    return outcome.fault or Fault("program", "the unit gave nothing")
