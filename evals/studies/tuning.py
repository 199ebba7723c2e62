"""Choosing merge parameters on validation rows: by the same held-in figure that the study reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evals.fanout import Evaluation
from evals.models import Model
from evals.normalise import averages, normalise
from evals.record import Record
from evals.studies.grid import Cell
from evals.studies.members import Member
from evals.studies.order import Study
from evals.studies.report.words import listing
from evals.task import Task

_UNDEFINED = "its score over the experts' is not defined"
Settings = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Trial:
    """One combination of parameters on validation rows. score None: it could not be measured, for `why`.

    score: held-in, over the experts' own scores on the same rows, mean over categories.  why: of one with a
    score, which tasks are not in it.
    """

    base: str
    method: str
    count: int
    settings: Settings
    score: float | None
    chosen: bool = False
    why: str = ""


def pairs_of(study: Study, members: Sequence[Member]) -> list[tuple[Model, Task]]:
    """What must be scored to choose: every trial, and the experts it is set against, on their categories."""
    rows = study.at_sizes(study.validation)
    experts = _experts(study)
    return [
        (one.model, task)
        for one in [*members, *experts]
        if one.model is not None
        for task in rows[one.subject.size]
        if task.category in one.subject.experts
    ]


def _experts(study: Study) -> list[Member]:
    """The experts that trials are merged of: those of run 0. What is chosen holds for all runs and seeds."""
    return [one for one in study.members if one.subject.kind == "expert" and one.subject.run == 0]


def judge(
    cells: Sequence[Cell], members: Sequence[Member], study: Study, evaluation: Evaluation
) -> list[Trial]:
    """Every trial with its score; of each base, method and count the best is chosen, the first of equals.

    A task on which the expert itself scores nothing is left out of all trials of a base alike, and named:
    with few rows that is common, and no ratio can be formed.
    """
    experts = {
        (one.subject.base, one.subject.experts[0]): one.model.label
        for one in _experts(study)
        if one.model is not None
    }
    scores: dict[str, float | None] = {}
    silent: list[tuple[str, str, str]] = []
    for base in study.bases:
        own = {category: label for (name, category), label in experts.items() if name == base}
        counted = {
            one.model.label: set(cell.experts)
            for cell, one in zip(cells, members, strict=True)
            if cell.base == base and one.model is not None
        }
        records = [record for record in evaluation.records if record.label in {*counted, *own.values()}]
        nothing = [record for record in records if _is_nothing(record, own)]
        silent += [(base, record.category, record.task) for record in nothing]
        left_out = {(record.suite, record.task) for record in nothing}
        records = [record for record in records if (record.suite, record.task) not in left_out]
        for mean in averages(normalise(records, experts=own, counted=counted)):
            scores[mean.label] = mean.ratio
    reasons = {failure.label: failure.reason for failure in reversed(evaluation.failures)}
    trials = []
    for cell, one in zip(cells, members, strict=True):
        score = scores.get(cell.label)
        lacks = tuple(task for base, name, task in silent if base == cell.base and name in cell.experts)
        why = f"without {listing(lacks)}: the expert scores 0 there" if lacks else ""
        if score is None:
            why = _why(one, cell.experts, study, reasons) or why or _UNDEFINED
        trials.append(Trial(cell.base, cell.method, cell.count, cell.settings, score, why=why))
    return list(_with_choice(trials))


def _is_nothing(record: Record, experts: Mapping[str, str]) -> bool:
    """Whether this is the score of the category's own expert, and no ratio to it can be formed.

    experts: category -> label.
    """
    is_reference = record.label == experts.get(record.category)
    return is_reference and record.higher_is_better and record.value == 0


def _why(trial: Member, experts: Sequence[str], study: Study, reasons: Mapping[str, str]) -> str:
    """Why a trial has no score: it, or an expert that it is set against, could not be had or measured.

    "": all were.
    """
    own = [one for one in _experts(study) if one.subject.base == trial.subject.base]
    needed = [trial, *(one for one in own if one.subject.experts[0] in experts)]
    whys = (one.why or reasons.get(one.model.label if one.model else "", "") for one in needed)
    return next((why for why in whys if why), "")


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
