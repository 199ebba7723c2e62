"""Every score that a study asks for: which model on which task, or why there will be none. Runs nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from evals.content import Digests
from evals.family.index import label_in_run
from evals.fanout import keys_of
from evals.merges import plan_model
from evals.models import Model, directories_of
from evals.setting import Setting
from evals.studies.config import StudyConfig
from evals.studies.grid import Cell, merge_config_dict
from evals.studies.members import Member, members_of, without_lost
from evals.studies.tables.values import Kind, Question, Subject
from evals.studies.validation import validation_suite, validation_tasks
from evals.suites import Suite, load_suite, locate_data
from evals.task import Task
from pipeline.config.load import parse_config
from pipeline.errors import InputError, MergescaleError
from pipeline.output import check_apart

#: Where scores lie in a study's folder: those that it reports, and those that it is tuned by.
SCORES, TUNING = "scores", "tuning"
#: Where lines for people go.
Report = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """One score that is asked for. key: its name in the store; "" where there will be none, as `why` says."""

    subject: Subject
    task: Task
    label: str
    model: Model | None
    key: str
    why: str = ""


@dataclass(frozen=True)
class Study:
    """A study with its suites' data located and its models looked at.

    config: that of the file, experts that cannot be had among the `missing` of their base.
    validation: the tasks that parameters are chosen on, () where nothing is tuned.
    """

    config: StudyConfig
    suites: tuple[Suite, ...]
    members: tuple[Member, ...]
    setting: Setting
    digests: Digests
    validation: tuple[Task, ...] = ()

    @cached_property
    def bases(self) -> dict[str, Subject]:
        """Name -> the base as a subject."""
        return {one.subject.base: one.subject for one in self.members if one.subject.kind == "base"}

    @property
    def tasks(self) -> list[Task]:
        """The tasks of all suites."""
        return [task for suite in self.suites for task in suite.tasks]

    def at_sizes(self, tasks: Iterable[Task]) -> dict[str, tuple[Task, ...]]:
        """Size -> the tasks as its models are scored on them."""
        sizes = {base.size for base in self.config.bases}
        return {size: self.config.at_size(tasks, size) for size in sizes}


def prepare(config: StudyConfig, setting: Setting, report: Report) -> Study:
    """Look at everything a study names.

    InputError: nothing can be written where it goes, it lies in a model, data that is not there, validation
    rows that are reported, no base that can be had.
    """
    _check_place(config.out)
    files = [file for file in (config.held_in, config.held_out) if file is not None]
    suites = tuple(_located(load_suite(file), config, report) for file in files)
    digests = Digests(config.out / "digests.json")
    members = members_of(config, digests)
    _check_apart(config.out, members)
    config = without_lost(config, members)
    found = Study(config, suites, members, setting, digests)
    if config.tuning is None:
        return found
    own = validation_suite(config.tuning)
    own = _located(own, config, report) if own is not None else None
    rows = validation_tasks(config.tuning, own, found.tasks, digests)
    return replace(found, validation=config.limited(rows))


def _check_place(out: Path) -> None:
    """InputError: nothing can be written there. Makes nothing: a plan leaves no folder."""
    there = next(place for place in (out, *out.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        found = "nobody may write there" if there.is_dir() else "a file"
        raise InputError("scores cannot be kept", where=str(there), expected="a directory", found=found)


def _check_apart(out: Path, members: Iterable[Member]) -> None:
    """OutputError: what the study writes would lie in, or be, a model that it reads."""
    models = directories_of(one.model for one in members if one.model is not None)
    for name in (SCORES, TUNING, "merged"):
        check_apart(out / name, models)


def _located(suite: Suite, config: StudyConfig, report: Report) -> Suite:
    """The suite with its data, as the study file says where it lies."""
    suite = replace(suite, tasks=config.limited(suite.tasks))
    try:
        return locate_data(suite, config.data, skip_missing=config.skip_missing, report=report)
    except InputError as error:
        if "--data" in error.hint:
            error.hint = "say where it lies with `data`, or leave tasks out with `skip_missing: true`"
        raise


def merged(study: Study, cells: Sequence[Cell], holes: Mapping[Cell, str] | None = None) -> list[Member]:
    """The merges of these cells, planned; those in `holes`, with the reason, and those that cannot be made
    are holes.
    """
    bases = {base.name: base for base in study.config.bases}
    methods = {method.name: method for method in study.config.methods}
    found = []
    for cell in cells:
        subject = replace(
            study.bases[cell.base],
            kind="merge",
            method=cell.method,
            count=cell.count,
            seed=cell.seed,
            experts=cell.experts,
            run=cell.run,
        )
        if holes and cell in holes:
            found.append(Member(subject, None, holes[cell]))
            continue
        try:
            config = parse_config(
                merge_config_dict(cell, bases[cell.base], methods[cell.method]), str(study.config.file)
            )
            found.append(Member(subject, plan_model(config, cell.label, cell.label, study.digests)))
        except MergescaleError as error:
            found.append(Member(subject, None, error.one_line))
    return found


def entries(study: Study, members: Sequence[Member]) -> list[Entry]:
    """Every score of these models, model by model."""
    tasks = study.at_sizes(study.tasks)
    asked = [
        (one, task)
        for one in members
        for task in tasks[one.subject.size]
        if is_asked(study.config, one.subject.kind, one.subject.experts, task)
    ]
    there = [(one.model, task) for one, task in asked if one.model is not None]
    keys = iter(keys_of(there, study.setting, study.digests))
    study.digests.save()
    return [
        Entry(one.subject, task, label_of(one), one.model, next(keys) if one.model else "", one.why)
        for one, task in asked
    ]


def label_of(member: Member) -> str:
    """What a model is called in tables of scores."""
    if member.model is not None:
        return member.model.label
    subject = member.subject
    return label_in_run("/".join([subject.base, subject.kind, subject.method, *subject.experts]), subject.run)


def question_of(task: Task) -> Question:
    """The task as tables have it."""
    return Question(
        task.role, task.suite, task.category, task.name, task.metric, task.higher_is_better, task.chance
    )


def is_asked(config: StudyConfig, kind: Kind, experts: Sequence[str], task: Task) -> bool:
    """Whether a model is scored on a task: of held-in tasks, merges and experts may be only on their own.

    An expert never is on categories that the study leaves out: without an expert of theirs they tell nothing.
    """
    if task.role == "held-out" or task.category in experts:
        return True
    if kind == "expert":
        return "best-expert" in config.compare and task.category in config.categories
    return kind != "merge" or config.scored == "all"
