"""What a study would do and cost before anything runs, and what is left of it; reckoned by estimate.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from evals.setting import Setting, lowest
from evals.studies.config import StudyConfig
from evals.studies.estimate import (
    FLOPS,
    ITEMS,
    TOKENS_AN_ITEM,
    Amount,
    Grounds,
    Rates,
    amounts,
    asks_of,
    in_words,
    left_of,
    size_of,
    span,
    total,
)
from evals.studies.grid import merges, tuning_cells
from evals.studies.order import Study, entries, merged, prepare
from evals.studies.report.words import several
from evals.studies.run import chosen_merges
from evals.studies.state import earlier_trials
from evals.studies.tuning import pairs_of
from evals.studies.validation import validation_suite
from evals.suites import load_suite, locate_data
from evals.table import Grid
from evals.task import Task
from pipeline.errors import MergescaleError, OutputError
from pipeline.plan.estimate import limits_for, size_text


@dataclass(frozen=True)
class BasePlan(Amount):
    """One base's share of a study. weights_bytes: of one model.

    left: the part that the next run has to do, None where that cannot be known without the models.
    """

    base: str = ""
    parameters: int | None = None
    weights_bytes: int = 0
    left: Amount | None = None


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
        return total(self.bases).seconds / self.workers

    @property
    def left(self) -> Amount | None:
        """What the next run has to do; None where that cannot be known."""
        left = [base.left for base in self.bases if base.left is not None]
        return total(left) if len(left) == len(self.bases) else None


def plan_study(config: StudyConfig, setting: Setting, cluster: str | None) -> StudyPlan:
    """The plan of a study on this machine, or on a described cluster (as `mergescale plan` takes it).

    InputError: a cluster that cannot be read, data that is not there, a study that would write into a model.
    """
    if cluster is None:
        grounds = Grounds.here(config, setting)
    else:
        limits = limits_for(None, None, processes=True, cluster=cluster)
        device = "cuda" if "gpus" in cluster else setting.device
        grounds = Grounds(config, setting, limits, device, Rates())
    done: int | None = None
    left: dict[str, Amount] = {}
    why: tuple[str, ...] = ()
    try:
        study = prepare(config, setting, lambda line: None)
        done, left = _left(grounds, study)
        tasks, rows = study.tasks, list(study.validation)
    except OutputError:
        raise
    except MergescaleError as error:
        why = (f"what is there already cannot be said: {error.one_line}",)
        tasks = _tasks(config)
        rows = _rows(config, tasks)
    whole = amounts(grounds, asks_of(config, tasks, rows))
    sizes = {base.name: size_of(base, config) for base in config.bases}
    bases = tuple(
        BasePlan(
            **asdict(whole[name]),
            base=name,
            parameters=parameters,
            weights_bytes=weights_bytes,
            left=left.get(name),
        )
        for name, (parameters, weights_bytes) in sizes.items()
    )
    notes = (*_notes(grounds, [*tasks, *rows], bases), *why)
    return StudyPlan(config.name, grounds.limits.workers, grounds.device, bases, done, notes)


def _left(grounds: Grounds, study: Study) -> tuple[int, dict[str, Amount]]:
    """How many scores are there, and what a run would do now."""
    cells, trials = merges(study.config), earlier_trials(study.config.out)
    asked = entries(study, [*study.members, *chosen_merges(study, cells, trials)])
    return left_of(grounds, study, asked, pairs_of(study, merged(study, tuning_cells(study.config))))


def _tasks(config: StudyConfig) -> list[Task]:
    """The tasks of both suites; those whose data is not there are left out where the study says so."""
    found = [load_suite(file) for file in (config.held_in, config.held_out) if file is not None]
    if config.skip_missing and config.data is not None and config.data.is_dir():
        found = [locate_data(suite, config.data, skip_missing=True) for suite in found]
    return list(config.limited(task for suite in found for task in suite.tasks))


def _rows(config: StudyConfig, tasks: Sequence[Task]) -> list[Task]:
    """The tasks that parameters are chosen on: of a family, which has one for each of the held-in tasks."""
    if config.tuning is None:
        return []
    own = validation_suite(config.tuning)
    found = own.tasks if own is not None else [task for task in tasks if task.role == "held-in"]
    limited = [replace(task, limit=lowest(task.limit, config.tuning.limit)) for task in found]
    return list(config.limited(limited))


def _notes(grounds: Grounds, tasks: Sequence[Task], bases: Sequence[BasePlan]) -> list[str]:
    """What the plan assumes."""
    limits, measured = grounds.limits, grounds.rates.by_base
    notes = ["times in the table are those of one worker"]
    if len(measured) < len(bases):
        operations = f"{FLOPS[grounds.device]:.0e} operations a second and worker"
        notes.append(f"assumed: {TOKENS_AN_ITEM} tokens an item, {operations}")
    notes.append(f"assumed: {limits.disk_bytes_per_s * limits.workers / 1e9:.1f} GB/s from disk")
    for name, item_s in measured.items():
        known = sum(base == name for base, _ in grounds.rates.by_task)
        notes.append(f"measured before: {name} on {several(known, 'task')}, {1 / item_s:.2g} items a second")
    if any(grounds.setting.items(task) is None for task in tasks):
        notes.append(f"assumed: {ITEMS:,} items of a task without a limit")
    unknown = [one.base for one in bases if not one.parameters]
    return notes + [f"{name}: its size is not known; its time is left out" for name in unknown]


def as_grids(plan: StudyPlan) -> list[Grid]:
    """The plan as a table, with what it comes to in the title, and what is left of it as another."""
    found = [_grid(_title(plan), [(base, base) for base in plan.bases])]
    if plan.left is not None:
        left = [(base, base.left) for base in plan.bases if base.left is not None and base.left.scores]
        wall = f", about {span(plan.left.seconds / plan.workers)} on {_workers(plan)}" if left else ""
        found.append(_grid(f"left: {in_words(plan.left, plan.device)}{wall}", left))
    return found


def _grid(title: str, amounts: Sequence[tuple[BasePlan, Amount]]) -> Grid:
    heads = ("base", "parameters", "merges", "for tuning", "scores", "items", "read", "merging", "scoring")
    rows = tuple(
        (
            base.base,
            f"{base.parameters / 1e6:,.1f}M" if base.parameters else "–",
            *(f"{number:,}" for number in (one.merges, one.tuning_merges, one.scores, one.items)),
            size_text(one.read_bytes),
            *(span(seconds) for seconds in (one.merge_seconds, one.score_seconds)),
        )
        for base, one in amounts
    )
    return Grid(title, heads, rows)


def _title(plan: StudyPlan) -> str:
    there = "" if plan.done is None else f", {plan.done:,} of them there already"
    whole = total(plan.bases)
    return (
        f"{plan.name}: {whole.merges + whole.tuning_merges:,} merges, {whole.scores:,} scores{there}; "
        f"all of it about {span(plan.seconds)} on {_workers(plan)}, {span(whole.seconds)} of one"
    )


def _workers(plan: StudyPlan) -> str:
    return several(plan.workers, "GPU" if plan.device == "cuda" else "core")


def as_json(plan: StudyPlan) -> dict[str, Any]:
    """The plan as plain data; "seconds" with all workers at work."""
    left = plan.left
    whole = None if left is None else asdict(left) | {"seconds": left.seconds / plan.workers}
    return {**asdict(plan), "seconds": plan.seconds, "left": whole}
