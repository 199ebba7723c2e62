"""Choosing merge parameters on validation rows: by the same held-in figure that the study reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evals.fanout import Evaluation
from evals.models import Model
from evals.normalise import averages, normalise
from evals.studies.grid import Cell
from evals.studies.members import Member
from evals.studies.order import Study
from evals.task import Task

Settings = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Trial:
    """One combination of parameters on validation rows. score None: it could not be measured, for `why`.

    score: held-in, over the experts' own scores on the same rows, mean over categories.
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
    experts = [one for one in study.members if one.subject.kind == "expert"]
    return [
        (one.model, task)
        for one in [*members, *experts]
        if one.model is not None
        for task in rows[one.subject.size]
        if task.category in one.subject.experts
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
    reasons = {failure.label: failure.reason for failure in reversed(evaluation.failures)}
    trials = []
    for cell, one in zip(cells, members, strict=True):
        score = scores.get(cell.label)
        why = _why(one, cell.experts, study, reasons) if score is None else ""
        trials.append(Trial(cell.base, cell.method, cell.count, cell.settings, score, why=why))
    return list(_with_choice(trials))


def _why(trial: Member, experts: Sequence[str], study: Study, reasons: Mapping[str, str]) -> str:
    """Why a trial has no score: it, or an expert that it is set against, could not be had or measured."""
    own = [one for one in study.members if one.subject.base == trial.subject.base]
    needed = [
        trial,
        *(one for one in own if one.subject.kind == "expert" and one.subject.experts[0] in experts),
    ]
    whys = (one.why or reasons.get(one.model.label if one.model else "", "") for one in needed)
    return next((why for why in whys if why), "its score over the experts' is not defined")


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
