"""What a study would do and cost, before anything runs. Arithmetic on the study file, headers and counts.

Models need not be there: one that is not is taken to have as many parameters as the file says, in two bytes
each. Times are estimates: from what was measured here before, else from the rates below. The plan says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evals.fanout import HOLDING_SHARE, keys_of
from evals.record import read_jsonl
from evals.setting import Setting
from evals.store import RecordStore
from evals.studies.bases import BaseMembers
from evals.studies.config import StudyConfig
from evals.studies.grid import Cell, merges, tuning_cells
from evals.studies.order import TUNING, entries, is_asked, merged, prepare
from evals.studies.run import chosen_merges
from evals.studies.state import earlier_trials, stores_of
from evals.studies.tables.values import Kind
from evals.studies.tuning import pairs_of
from evals.suites import load_suite, locate_data
from evals.table import Grid
from evals.task import Task
from pipeline.checkpoint.locate import read_index
from pipeline.config.place import Place
from pipeline.config.reference import read_reference
from pipeline.errors import MergescaleError
from pipeline.plan.estimate import limits_for, size_text
from pipeline.plan.plan import Limits

#: Tokens that a model reads for one item, all its choices together: of the order of the shipped suites'.
_TOKENS_AN_ITEM = 250
#: Floating point operations a second that a worker keeps up: a GPU of the H100 class, a CPU core in float32.
_FLOPS = {"cuda": 2e14, "cpu": 3e10}
#: Items of a task whose number neither suite nor study says.
_ITEMS = 1000


@dataclass(frozen=True)
class BasePlan:
    """One base's share of a study. weights_bytes: of one model.  read_bytes: of weights, for all merges.

    scores: models times tasks.  items: questions asked.  seconds: over all workers, on each kind of work.
    """

    base: str
    parameters: int | None
    weights_bytes: int
    merges: int
    tuning_merges: int
    scores: int
    items: int
    read_bytes: int
    merge_seconds: float
    score_seconds: float


@dataclass(frozen=True)
class StudyPlan:
    """A study's cost. workers: of the machine or the described cluster.  done: scores that are there already,
    None where that cannot be known without the models. notes: sentences for people.
    """

    name: str
    workers: int
    device: str
    bases: tuple[BasePlan, ...]
    done: int | None
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """From start to end, with all workers at work."""
        return sum(base.merge_seconds + base.score_seconds for base in self.bases) / self.workers


@dataclass(frozen=True)
class _Grounds:
    """What every base's share is reckoned from."""

    config: StudyConfig
    tasks: tuple[Task, ...]
    setting: Setting
    limits: Limits
    device: str
    rates: Mapping[str, float]


def plan_study(config: StudyConfig, setting: Setting, cluster: str | None) -> StudyPlan:
    """The plan of a study on this machine, or on a described cluster (as `mergescale plan` takes it).

    InputError: a cluster that cannot be read, data that is not there.
    """
    limits = limits_for(None, None, processes=True, cluster=cluster)
    device = "cuda" if cluster is not None and "gpus" in cluster else setting.device
    cells, trials = merges(config), tuning_cells(config)
    rates = _rates(config, device) if cluster is None else {}
    grounds = _Grounds(config, _tasks(config), setting, limits, device, rates)
    notes = [
        "times in the table are those of one worker",
        f"assumed: {_TOKENS_AN_ITEM} tokens an item, {_FLOPS[device]:.0e} operations a second and worker, "
        f"{limits.disk_bytes_per_s * limits.workers / 1e9:.1f} GB/s from disk",
        *(f"measured before: {name} {rate:.2g} items a second and worker" for name, rate in rates.items()),
    ]
    bases = tuple(_base(grounds, base, cells, trials) for base in config.bases)
    if any(setting.items(task) is None for task in grounds.tasks):
        notes.append(f"assumed: {_ITEMS:,} items of a task without a limit")
    unknown = [one.base for one in bases if not one.parameters]
    notes += [f"{name}: its size is not known; its time is left out" for name in unknown]
    done, why = _done(config, setting, cells)
    return StudyPlan(config.name, limits.workers, device, bases, done, (*notes, *why))


def _base(grounds: _Grounds, base: BaseMembers, cells: Sequence[Cell], trials: Sequence[Cell]) -> BasePlan:
    """One base's share."""
    config, limits = grounds.config, grounds.limits
    own = [cell for cell in cells if cell.base == base.name]
    tried = [cell for cell in trials if cell.base == base.name]
    parameters, weights_bytes = _size(base, config)
    asked = _asked(config, base, own, grounds.tasks)
    own_rows = [cell.experts for cell in tried] + ([tuple(base.experts)] if tried else [])
    on_rows = sum(
        task.role == "held-in" and task.category in names for names in own_rows for task in grounds.tasks
    )
    items = sum(grounds.setting.items(task) or _ITEMS for task in asked)
    items += on_rows * ((config.tuning.limit if config.tuning else None) or _ITEMS)
    models = _models_read(own, weights_bytes, limits) + _models_read(tried, weights_bytes, limits)
    item_s = 2.0 * (parameters or 0) * _TOKENS_AN_ITEM / _FLOPS[grounds.device]
    return BasePlan(
        base=base.name,
        parameters=parameters,
        weights_bytes=weights_bytes,
        merges=len(own),
        tuning_merges=len(tried),
        scores=len(asked) + on_rows,
        items=items,
        read_bytes=weights_bytes * models,
        merge_seconds=weights_bytes * models / limits.disk_bytes_per_s,
        score_seconds=items / grounds.rates[base.name] if base.name in grounds.rates else items * item_s,
    )


def _tasks(config: StudyConfig) -> tuple[Task, ...]:
    """The tasks of both suites; those whose data is not there are left out where the study says so."""
    found = [load_suite(file) for file in (config.held_in, config.held_out) if file is not None]
    if config.skip_missing and config.data is not None and config.data.is_dir():
        found = [locate_data(suite, config.data, skip_missing=True) for suite in found]
    return tuple(task for suite in found for task in suite.tasks)


def _rates(config: StudyConfig, device: str) -> dict[str, float]:
    """Base -> items that a worker scored a second, by the records of this study and its family."""
    tables = [folder / "records.jsonl" for folder in stores_of(config)]
    records = [one for table in tables if table.is_file() for one in read_jsonl(table)]
    found = {}
    for base in config.bases:
        own = [one for one in records if one.label.startswith(f"{base.name}/") and one.device == device]
        elapsed_s = sum(one.elapsed_s for one in own)
        if elapsed_s:
            found[base.name] = sum(one.n for one in own) / elapsed_s
    return found


def _asked(
    config: StudyConfig, base: BaseMembers, cells: Sequence[Cell], tasks: Sequence[Task]
) -> list[Task]:
    """The task of every score of one base: its own, of its experts, its multitask model and its merges."""
    models: list[tuple[Kind, Sequence[str]]] = [("base", ())]
    if base.multitask is not None and "multitask" in config.compare:
        models.append(("multitask", config.categories))
    if "experts" in config.compare:
        models += [("expert", (name,)) for name in base.experts]
    models += [("merge", cell.experts) for cell in cells]
    return [task for kind, experts in models for task in tasks if is_asked(config, kind, experts, task)]


def _size(base: BaseMembers, config: StudyConfig) -> tuple[int | None, int]:
    """(parameters, bytes of the weights), from headers where the model is here."""
    try:
        index = read_index(read_reference(base.model, Place(str(config.file))))
    except MergescaleError:
        return base.parameters, 2 * (base.parameters or 0)
    specs = [entry.spec for entry in index.tensors.values()]
    return base.parameters or sum(spec.numel for spec in specs), sum(spec.size_bytes for spec in specs)


def _models_read(cells: Sequence[Cell], weights_bytes: int, limits: Limits) -> int:
    """How many models are read for these merges: groups that fit into a worker share one read."""
    together = int(limits.memory_bytes // (HOLDING_SHARE * weights_bytes)) if weights_bytes else len(cells)
    if together < 2:
        return sum(cell.count + 1 for cell in cells)
    most = max((cell.count + 1 for cell in cells), default=0)
    return -(-len(cells) // together) * most


def _done(config: StudyConfig, setting: Setting, cells: Sequence[Cell]) -> tuple[int | None, tuple[str, ...]]:
    """(how many scores are there, those on validation rows too; why that cannot be said)."""
    try:
        study = prepare(config, setting, lambda line: None)
        trials = earlier_trials(config.out)
        asked = entries(study, [*study.members, *chosen_merges(study, cells, trials)])
        tried = pairs_of(study, merged(study, tuning_cells(config)))
        keys = [one.key for one in asked] + keys_of(tried, setting, study.digests)
    except MergescaleError as error:
        why = error.one_line
        return None, (f"what is there already cannot be said: {why}",)
    folders = [config.out / TUNING, *stores_of(config)]
    there = {path.stem for folder in folders for path in RecordStore(folder).files()}
    return sum(key in there for key in keys), ()


def as_grids(plan: StudyPlan) -> list[Grid]:
    """The plan as a table, with what it comes to in the title."""
    heads = ("base", "parameters", "merges", "for tuning", "scores", "items", "read", "merging", "scoring")
    rows = tuple(
        (
            one.base,
            f"{one.parameters / 1e6:,.1f}M" if one.parameters else "–",
            *(f"{number:,}" for number in (one.merges, one.tuning_merges, one.scores, one.items)),
            size_text(one.read_bytes),
            *(_span(seconds) for seconds in (one.merge_seconds, one.score_seconds)),
        )
        for one in plan.bases
    )
    return [Grid(_title(plan), heads, rows)]


def _title(plan: StudyPlan) -> str:
    total = sum(one.scores for one in plan.bases)
    kind = "GPU" if plan.device == "cuda" else "core"
    there = "" if plan.done is None else f", {plan.done:,} of them there already"
    merged = sum(one.merges + one.tuning_merges for one in plan.bases)
    return (
        f"{plan.name}: {merged:,} merges, {total:,} scores{there}; all of it about {_span(plan.seconds)} "
        f"on {plan.workers} {kind}s, {_span(plan.seconds * plan.workers)} of one"
    )


def _span(seconds: float) -> str:
    """Seconds for people, as minutes or hours."""
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:,.1f} h"


def as_json(plan: StudyPlan) -> dict[str, Any]:
    """The plan as plain data."""
    return {**asdict(plan), "seconds": plan.seconds}
