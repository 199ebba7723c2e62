"""The rows that parameters are chosen on: those a family kept back, or a suite's of the user. Scores nothing.

They are never rows that the study reports: that is looked at here, before anything is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evals.content import Digests
from evals.family.command import command_for
from evals.family.gate import make_check
from evals.family.rows import validation_file
from evals.setting import lowest
from evals.studies.config import TuningConfig
from evals.suites import Suite, load_suite
from evals.task import Task
from pipeline.errors import InputError

_NAME_A_SUITE = "name a suite of validation rows: `tune: {suite: FILE}`"


def validation_suite(tuning: TuningConfig | None) -> Suite | None:
    """The suite of validation rows, its data not located; None where a family has the rows, or none are."""
    return load_suite(tuning.suite) if tuning is not None and tuning.suite is not None else None


def validation_tasks(
    tuning: TuningConfig, own: Suite | None, reported: Sequence[Task], digests: Digests
) -> tuple[Task, ...]:
    """The held-in tasks on rows that no one trained on and the study does not report.

    own: `validation_suite` with its data located.  reported: every task of the study, located. InputError:
    a family's rows are not there, or a suite's are reported ones, or lack a category.
    """
    if own is not None:
        lost = {task.category for task in reported if task.role == "held-in"} - set(own.categories)
        if lost:
            raise InputError(
                "categories without validation rows",
                where=str(own.file),
                expected="rows of every held-in category that is reported",
                found=f"none of {', '.join(sorted(lost))}",
            )
        tasks = list(own.tasks)
        _refuse_reported(own, reported, digests)
    else:
        assert tuning.family is not None
        tasks = _of_family([task for task in reported if task.role == "held-in"], tuning.family)
    return tuple(replace(task, limit=lowest(task.limit, tuning.limit)) for task in tasks)


def _refuse_reported(own: Suite, reported: Sequence[Task], digests: Digests) -> None:
    """InputError: a task has the rows of one that the study reports, under whatever name."""
    known = {rows: task for task in reported if (rows := _rows(task, digests))}
    for task in own.tasks:
        same = known.get(_rows(task, digests))
        if same is not None:
            raise InputError(
                "tuned on rows that are reported",
                where=task.where,
                expected="rows that no task of the study's suites is scored on",
                found=f"those of {same.suite}/{same.name}",
                hint=_NAME_A_SUITE,
            )


def _rows(task: Task, digests: Digests) -> tuple[str, ...]:
    """What tells the rows that a task is scored on from others; () where only its own code knows."""
    split = str(task.definition.get("test_split") or task.definition.get("validation_split"))
    files = dict(task.data).get(split, ())
    chosen = repr(task.definition.get("process_docs"))
    if files:
        return (*(digests.of_file(Path(name)) for name in files), chosen)
    names = [str(task.definition[key]) for key in ("dataset_path", "dataset_name") if key in task.definition]
    return (*names, split, chosen) if names else ()


def _of_family(tasks: Sequence[Task], family: Path) -> list[Task]:
    """The rows that a family's gate looked at, task by task. InputError: some are not there."""
    files = {(task.category, task.name): validation_file(family, task) for task in tasks}
    missing = [str(file) for file in files.values() if not file.is_file()]
    if missing:
        raise InputError(
            "validation rows of the family are not there",
            where=str(family),
            expected=", ".join(missing),
            hint=f"build the family here: {command_for(family)}; or {_NAME_A_SUITE}",
        )
    return [make_check(task, files[task.category, task.name]).task for task in tasks]
