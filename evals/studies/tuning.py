"""Choosing merge parameters on validation rows: by the same held-in figure that the study reports.

The rows are those a family kept back or a suite of the user's; never those of the study's own suites.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evals.family.gate import make_check
from evals.family.rows import validation_file
from evals.fanout import Evaluation
from evals.models import Model
from evals.normalise import averages, normalise
from evals.studies.config import TuningConfig
from evals.studies.grid import Cell
from evals.studies.members import Member
from evals.studies.order import Report, Study
from evals.suites import load_suite, locate_data
from evals.task import Task
from pipeline.errors import InputError

Settings = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Trial:
    """One combination of parameters on validation rows. score None: it could not be measured.

    score: held-in, over the experts' own scores on the same rows, mean over categories.
    """

    base: str
    method: str
    count: int
    settings: Settings
    score: float | None
    chosen: bool = False


def validation_tasks(study: Study, tuning: TuningConfig, report: Report) -> list[Task]:
    """The held-in tasks on rows that no one trained on and the study does not report."""
    if tuning.suite is not None:
        tasks = list(locate_data(load_suite(tuning.suite), study.config.data, report=report).tasks)
    else:
        assert tuning.family is not None
        tasks = _of_family(study, tuning.family)
    return [replace(task, limit=_least(task.limit, tuning.limit)) for task in tasks]


def _of_family(study: Study, family: Path) -> list[Task]:
    """The rows that a family's gate looked at, task by task. InputError: some are not there."""
    files = {(task.category, task.name): validation_file(family, task) for task in study.suites[0].tasks}
    missing = [str(file) for file in files.values() if not file.is_file()]
    if missing:
        raise InputError(
            "validation rows of the family are not there",
            where=str(family),
            expected=", ".join(missing),
            hint="build the family here, or name a suite of validation rows: `tune: {suite: FILE}`",
        )
    return [make_check(task, files[task.category, task.name]).task for task in study.suites[0].tasks]


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def pairs_of(study: Study, members: Sequence[Member], tasks: Sequence[Task]) -> list[tuple[Model, Task]]:
    """What must be scored to choose: every trial, and the experts it is set against, on their categories."""
    models = [(one.subject.experts, one.model) for one in members]
    models += [(one.subject.experts, one.model) for one in study.members if one.subject.kind == "expert"]
    return [
        (model, task)
        for experts, model in models
        if model is not None
        for task in tasks
        if task.category in experts
    ]


def judge(
    cells: Sequence[Cell], members: Sequence[Member], study: Study, evaluation: Evaluation
) -> list[Trial]:
    """Every trial with its score; of each base, method and count the best is chosen, the first of equals."""
    experts = {
        (one.subject.base, one.subject.experts[0]): one.model.label
        for one in study.members
        if one.subject.kind == "expert" and one.model is not None
    }
    scores: dict[str, float | None] = {}
    for base in study.bases:
        own = {category: label for (name, category), label in experts.items() if name == base}
        there = [
            (cell, one.model.label)
            for cell, one in zip(cells, members, strict=True)
            if cell.base == base and one.model is not None
        ]
        labels = {label for _, label in there} | set(own.values())
        records = [record for record in evaluation.records if record.label in labels]
        counted = {label: set(cell.experts) for cell, label in there}
        for mean in averages(normalise(records, experts=own, counted=counted)):
            scores[mean.label] = mean.ratio
    trials = [
        Trial(cell.base, cell.method, cell.count, cell.settings, scores.get(cell.label)) for cell in cells
    ]
    return list(_with_choice(trials))


def _with_choice(trials: Sequence[Trial]) -> Iterable[Trial]:
    """The trials, the best of each base, method and count marked."""
    best: dict[tuple[str, str, int], Trial] = {}
    for trial in trials:
        key = (trial.base, trial.method, trial.count)
        if trial.score is not None and (key not in best or trial.score > (best[key].score or 0.0)):
            best[key] = trial
    chosen = {id(trial) for trial in best.values()}
    return (replace(trial, chosen=id(trial) in chosen) for trial in trials)


def choices(trials: Sequence[Trial]) -> Mapping[tuple[str, str, int], Settings]:
    """(base, method, count) -> the settings that were chosen; what could not be measured is not there."""
    return {(one.base, one.method, one.count): one.settings for one in trials if one.chosen}
