"""What scores of a study cost, all of them or those that are not there yet. Arithmetic; it measures nothing.

Models need not be there: one that is not is taken to have as many parameters as the file says, in two bytes
each. Times are estimates: from what was measured before, task by task, else from the rates below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from evals.family.index import label_in_run
from evals.fanout import HOLDING_SHARE, keys_of
from evals.models import Model
from evals.setting import Setting
from evals.store import RecordStore
from evals.studies.bases import BaseMembers
from evals.studies.config import StudyConfig
from evals.studies.grid import Cell, merges, tuning_cells
from evals.studies.order import TUNING, Entry, Study, is_asked
from evals.studies.report.words import several
from evals.studies.state import UNTUNED, stores_of
from evals.studies.tables.values import Kind, Subject
from evals.task import Task
from pipeline.checkpoint.locate import read_index
from pipeline.config.place import Place
from pipeline.config.reference import read_reference
from pipeline.errors import MergescaleError
from pipeline.plan.estimate import limits_for, size_text
from pipeline.plan.plan import Limits

#: Tokens that a model reads for one item, all its choices together: of the order of the shipped suites'.
TOKENS_AN_ITEM = 250
#: Floating point operations a second that a worker keeps up: a GPU of the H100 class, a CPU core in float32.
FLOPS = {"cuda": 2e14, "cpu": 3e10}
#: Items of a task whose number neither suite nor study says.
ITEMS = 1000

#: A score by what it is: its model, suite, task, and whether it is one of the tuning.
Name = tuple[str, str, str, bool]


@dataclass(frozen=True)
class Ask:
    """One score that a study asks for.

    model: its label; of a merge that of the grid, without what tuning chooses.  cell: the merge, None for a
    model that is none.  tuning: whether it is asked to choose parameters by.
    """

    base: str
    model: str
    cell: Cell | None
    task: Task
    tuning: bool

    @property
    def name(self) -> Name:
        """What tells it from all others."""
        return self.model, self.task.suite, self.task.name, self.tuning


@dataclass(frozen=True)
class Amount:
    """Work. merges: those that are reported.  scores: models times tasks, on validation rows too.

    items: questions.  read_bytes: of weights, for all merges.  seconds: of one worker, on each kind of work.
    """

    merges: int = 0
    tuning_merges: int = 0
    scores: int = 0
    items: int = 0
    read_bytes: int = 0
    merge_seconds: float = 0.0
    score_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """Of one worker that does it all."""
        return self.merge_seconds + self.score_seconds


def total(amounts: Iterable[Amount]) -> Amount:
    """The sum of the amounts."""
    ones = list(amounts)
    return Amount(**{one.name: sum(getattr(each, one.name) for each in ones) for one in fields(Amount)})


@dataclass(frozen=True)
class Rates:
    """Seconds that a worker took for an item, as measured: of a base on a task, on average of a base."""

    by_task: Mapping[tuple[str, str], float] = field(default_factory=dict)
    by_base: Mapping[str, float] = field(default_factory=dict)

    def item_s(self, base: str, task: Task) -> float | None:
        """Seconds for an item; None where nothing of the base was measured."""
        return self.by_task.get((base, task.name), self.by_base.get(base))


@dataclass(frozen=True)
class Grounds:
    """What every amount is reckoned from. device: "cuda" or "cpu", which the rates are for."""

    config: StudyConfig
    setting: Setting
    limits: Limits
    device: str
    rates: Rates

    @classmethod
    def here(cls, config: StudyConfig, setting: Setting) -> Grounds:
        """Those of a run on this machine."""
        limits = limits_for(None, None, processes=True, cluster=None)
        return cls(config, setting, limits, setting.device, rates_of(config, setting.device))

    def items(self, task: Task) -> int:
        """How many items of a task are scored."""
        return self.setting.items(task) or ITEMS


def asks_of(config: StudyConfig, tasks: Sequence[Task], rows: Sequence[Task]) -> list[Ask]:
    """Every score of the study, on its tasks and on validation rows, as far as its file says."""
    cells, trials = merges(config), tuning_cells(config)
    found = []
    for base in config.bases:
        models: list[tuple[Subject, Cell | None]] = [(_subject(base, "base"), None)]
        experts: list[Subject] = []
        for run in base.runs:
            own = base.in_run(run)
            if own.multitask is not None and "multitask" in config.compare:
                models.append((_subject(base, "multitask", run=run), None))
            experts += [_subject(base, "expert", (name,), run) for name in own.experts]
        models += [(one, None) for one in experts if "experts" in config.compare]
        models += [(_subject(base, "merge", c.experts), c) for c in cells if c.base == base.name]
        found += [
            Ask(base.name, cell.label if cell else label_of(subject), cell, task, tuning=False)
            for subject, cell in models
            for task in config.at_size(tasks, base.size)
            if is_asked(config, subject.kind, subject.experts, task)
        ]
        tried: list[tuple[str, Sequence[str], Cell | None]]
        tried = [(cell.label, cell.experts, cell) for cell in trials if cell.base == base.name]
        tried += [(label_of(one), one.experts, None) for one in experts if trials and not one.run]
        found += [
            Ask(base.name, label, cell, task, tuning=True)
            for label, names, cell in tried
            for task in config.at_size(rows, base.size)
            if task.category in names
        ]
    return found


def _subject(base: BaseMembers, kind: Kind, experts: tuple[str, ...] = (), run: int = 0) -> Subject:
    return Subject(base.name, base.size, base.quality, base.parameters or 0, kind, experts=experts, run=run)


def label_of(subject: Subject) -> str:
    """What a model is called here: a merge as the grid has it, others as `members` calls them."""
    if subject.kind == "merge":
        where = (subject.base, subject.method, subject.count, subject.seed, subject.experts)
        return Cell(*where, run=subject.run).label
    own = subject.experts[0] if subject.kind == "expert" else subject.kind
    return label_in_run(f"{subject.base}/{own}", subject.run)


def left_of(
    grounds: Grounds, study: Study, asked: Sequence[Entry], tried: Sequence[tuple[Model, Task]]
) -> tuple[int, dict[str, Amount]]:
    """(how many scores are there, base -> what a run would do now). What cannot be had is neither.

    asked: every score that is reported.  tried: the pairs that parameters are chosen by.
    """
    scores = _stored(stores_of(study.config))
    rows = _stored([study.config.out / TUNING, *stores_of(study.config)[1:]])
    keys = keys_of(tried, study.setting, study.digests)
    left = {
        (label_of(one.subject), one.task.suite, one.task.name, False)
        for one in asked
        if (one.key not in scores if one.key else one.why == UNTUNED)
    } | {
        (model.label, task.suite, task.name, True)
        for (model, task), key in zip(tried, keys, strict=True)
        if key not in rows
    }
    asks = asks_of(study.config, study.tasks, study.validation)
    done = sum(one.key in scores for one in asked) + sum(key in rows for key in keys)
    return done, amounts(grounds, [ask for ask in asks if ask.name in left])


def _stored(folders: Sequence[Path]) -> set[str]:
    """The keys of all records in these stores."""
    return {path.stem for folder in folders for path in RecordStore(folder).files()}


def rates_of(config: StudyConfig, device: str) -> Rates:
    """What the records of this study and its family say: each task has its own cost."""
    names = {base.name for base in config.bases}
    spent: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for folder in [config.out / TUNING, *stores_of(config)]:
        store = RecordStore(folder)
        for path in store.files():
            record = store.get(path.stem)
            base = record.label.partition("/")[0] if record is not None else ""
            if record is not None and base in names and record.device == device and record.elapsed_s:
                spent.setdefault((base, record.task), []).append((record.elapsed_s, record.n))
    bases = {
        base: [pair for (own, _), pairs in spent.items() if own == base for pair in pairs] for base in names
    }
    return Rates(
        {place: _item_s(pairs) for place, pairs in spent.items()},
        {base: _item_s(pairs) for base, pairs in bases.items() if pairs},
    )


def _item_s(pairs: Sequence[tuple[float, int]]) -> float:
    return sum(elapsed_s for elapsed_s, _ in pairs) / max(sum(n for _, n in pairs), 1)


def amounts(grounds: Grounds, asks: Sequence[Ask]) -> dict[str, Amount]:
    """Base -> what its share of these scores costs."""
    return {
        base.name: _amount(grounds, base, [ask for ask in asks if ask.base == base.name])
        for base in grounds.config.bases
    }


def _amount(grounds: Grounds, base: BaseMembers, asks: Sequence[Ask]) -> Amount:
    parameters, weights_bytes = size_of(base, grounds.config)
    cells, trials = (
        list(dict.fromkeys(ask.cell for ask in asks if ask.cell is not None and ask.tuning == tuning))
        for tuning in (False, True)
    )
    models = sum(_models_read(group, weights_bytes, grounds.limits) for group in (cells, trials))
    by_size = 2.0 * (parameters or 0) * TOKENS_AN_ITEM / FLOPS[grounds.device]
    seconds = 0.0
    for ask in asks:
        item_s = grounds.rates.item_s(base.name, ask.task)
        seconds += grounds.items(ask.task) * (by_size if item_s is None else item_s)
    return Amount(
        merges=len(cells),
        tuning_merges=len(trials),
        scores=len(asks),
        items=sum(grounds.items(ask.task) for ask in asks),
        read_bytes=weights_bytes * models,
        merge_seconds=weights_bytes * models / grounds.limits.disk_bytes_per_s,
        score_seconds=seconds,
    )


def size_of(base: BaseMembers, config: StudyConfig) -> tuple[int | None, int]:
    """(parameters, bytes of the weights), from headers where the model is here."""
    try:
        index = read_index(read_reference(base.model, Place(str(config.file))))
    except MergescaleError:
        return base.parameters, 2 * (base.parameters or 0)
    specs = [entry.spec for entry in index.tensors.values()]
    return base.parameters or sum(spec.numel for spec in specs), sum(spec.size_bytes for spec in specs)


def _models_read(cells: Sequence[Cell], weights_bytes: int, limits: Limits) -> int:
    """How many models are read for these merges: groups of a run that fit into a worker share one read."""
    return sum(
        _models_read_once([cell for cell in cells if cell.run == run], weights_bytes, limits)
        for run in {cell.run for cell in cells}
    )


def _models_read_once(cells: Sequence[Cell], weights_bytes: int, limits: Limits) -> int:
    together = int(limits.memory_bytes // (HOLDING_SHARE * weights_bytes)) if weights_bytes else len(cells)
    if together < 2:
        return sum(cell.count + 1 for cell in cells)
    most = max((cell.count + 1 for cell in cells), default=0)
    return -(-len(cells) // together) * most


def in_words(amount: Amount, device: str) -> str:
    """ "45 merges, 650 scores, 21,940 items, 18.83 GB to read, 9.5 h of one core"."""
    merges = amount.merges + amount.tuning_merges
    counts = ", ".join(
        several(count, thing) for count, thing in [(merges, "merge"), (amount.scores, "score")]
    )
    worker = "GPU" if device == "cuda" else "core"
    return (
        f"{counts}, {amount.items:,} items, {size_text(amount.read_bytes)} to read, "
        f"{span(amount.seconds)} of one {worker}"
    )


def span(seconds: float) -> str:
    """Seconds for people, as minutes or hours."""
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:,.1f} h"
