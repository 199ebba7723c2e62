"""The story of a study: models -> tuning -> grid -> scores -> kept merges. What is there is not done again.

Killed at any moment, the same command goes on; what cannot be had or measured is a hole with its reason, and
the rest goes on.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from cluster.contract import Executor
from evals.fanout import Evaluation, evaluate
from evals.models import Model
from evals.studies.grid import Cell, merges, tuning_cells, with_settings
from evals.studies.members import Member
from evals.studies.order import Entry, Report, Study, entries, merged
from evals.studies.state import (
    SCORES,
    TUNING,
    counted,
    earlier_trials,
    stores_of,
    write_failures,
    write_state,
)
from evals.studies.tuning import Trial, choices, judge, pairs_of, validation_tasks
from evals.task import Task
from pipeline.errors import RunError
from pipeline.run import run_merge

_VERSIONS = ("mergescale", "lm_eval", "transformers", "torch")


@dataclass(frozen=True)
class Running:
    """How a study is run: an executor that its stages share, where lines go, whether progress is shown."""

    start: Callable[[], Executor]
    report: Report
    show_progress: bool = False


def run_study(study: Study, running: Running) -> RunError | None:
    """Measure what is missing of the study; return what there is to say of scores that stay missing."""
    config = study.config
    cells, said = merges(config), _said(study)
    earlier = earlier_trials(config.out)
    members = chosen_merges(study, cells, earlier)
    asked = entries(study, [*study.members, *members])
    write_state(config.out, asked, earlier, *said)
    trials = _tune(study, running)
    if tuple(trials) != earlier:
        members = chosen_merges(study, cells, trials)
        asked = entries(study, [*study.members, *members])
        write_state(config.out, asked, trials, *said)
    running.report(_summary(study, cells, asked))
    evaluation = _evaluate(study, running, [(e.model, e.task) for e in asked if e.model is not None], SCORES)
    failures = _failures(asked, evaluation)
    write_failures(config.out, failures)
    if config.keep:
        _keep(study, members, running)
    return _incomplete(asked, failures)


def _tune(study: Study, running: Running) -> list[Trial]:
    """Every combination of parameters on validation rows."""
    cells = tuning_cells(study.config)
    if study.config.tuning is None or not cells:
        return []
    tasks = validation_tasks(study, study.config.tuning, running.report)
    members = merged(study, cells)
    pairs = pairs_of(study, members, tasks)
    running.report(f"tuning: {len(cells)} merges on validation rows, {len(pairs)} scores")
    return judge(cells, members, study, _evaluate(study, running, pairs, TUNING))


def chosen_merges(study: Study, cells: Sequence[Cell], trials: Sequence[Trial]) -> list[Member]:
    """The merges with the parameters that were chosen for them; without a choice they are holes."""
    tuned = {method.name for method in study.config.methods if method.tune}
    best = choices(trials)
    final, waiting = [], {}
    for cell in cells:
        settings = best.get((cell.base, cell.method, cell.count), ())
        final.append(with_settings(cell, dict(settings)))
        if cell.method in tuned and not settings:
            waiting[final[-1]] = "its parameters are not tuned: no trial has a score"
    return merged(study, final, waiting)


def _evaluate(study: Study, running: Running, pairs: Sequence[tuple[Model, Task]], name: str) -> Evaluation:
    """Scores under OUT/name; those that a family's build has measured are taken from there."""
    return evaluate(
        pairs,
        running.start,
        study.config.out / name,
        study.setting,
        digests=study.digests,
        show_progress=running.show_progress,
        also=stores_of(study.config)[1:],
    )


def _failures(asked: Sequence[Entry], evaluation: Evaluation) -> dict[str, str]:
    """Key -> why, of what was asked for and could not be measured."""
    why = {(one.label, one.suite, one.task): one.reason for one in evaluation.failures}
    found = {one.key: why.get((one.label, one.task.suite, one.task.name)) for one in asked if one.key}
    return {key: reason for key, reason in found.items() if reason is not None}


def _keep(study: Study, members: Sequence[Member], running: Running) -> None:
    """Write the merged models under OUT/merged; those that are there are left as they are."""
    for member in members:
        if member.model is None or member.model.merge is None:
            continue
        merge = member.model.merge
        place = study.config.out / "merged" / member.model.label.replace(" ", "-")
        with running.start() as executor:
            run_merge(merge.plan, place, executor, show_progress=running.show_progress)
        running.report(f"kept: {place}")


def _said(study: Study) -> tuple[list[tuple[str, str, str]], dict[str, Any]]:
    """Where everything came from, and what a report says beside the figures."""
    config = study.config
    models = [
        (one.model.label, one.model.path, one.model.digest) for one in study.members if one.model is not None
    ]
    facts = {
        "name": config.name,
        "file": str(config.file),
        "config": config.file.read_text(encoding="utf-8"),
        "setting": vars(study.setting).copy(),
        "versions": {name: version(name) for name in _VERSIONS} | {"python": platform.python_version()},
        "qualities": list(dict.fromkeys(base.quality for base in config.bases)),
        "methods": [method.name for method in config.methods],
        "resamples": config.resamples,
        "protocol": _protocol(study),
    }
    return models, facts


def _protocol(study: Study) -> list[list[str]]:
    """The rules of the study in words, (label, text) pairs."""
    config = study.config
    own = "those whose expert is in the merge" if config.scored == "merged" else "all"
    items = "as many as the suites say" if config.limit is None else f"{config.limit} at most"
    tuned = [method.name for method in config.methods if method.tune]
    left_out = [f"{suite.name}/{one.task}" for suite in study.suites for one in suite.left_out]
    pairs = [
        (
            "suites",
            ", ".join(f"{suite.name} ({suite.role}, {len(suite.tasks)} tasks)" for suite in study.suites),
        ),
        (
            "experts",
            "a seed picks the same categories for every base and method",
        ),
        ("held-in tasks of a merge", own),
        ("items a task", items),
        ("tuned on validation rows", ", ".join(tuned) or "nothing"),
        ("models computed in", f"{study.setting.dtype} on {study.setting.device}"),
        ("tasks left out, as their data was not there", ", ".join(left_out) or "none"),
    ]
    return [list(pair) for pair in pairs]


def _summary(study: Study, cells: Sequence[Cell], asked: Sequence[Entry]) -> str:
    holes = sum(not one.key for one in asked)
    text = f"{study.config.name}: {len(cells)} merges, {len(asked) - holes} scores"
    return text + (f"; {holes} cannot be had, see the report" if holes else "")


def _incomplete(asked: Sequence[Entry], failures: Mapping[str, str]) -> RunError | None:
    """An error for scores that are missing: each reason once, with how many it costs."""
    reasons = [one.why for one in asked if not one.key] + list(failures.values())
    if not reasons:
        return None
    return RunError(
        f"{len(reasons)} of {len(asked)} scores are missing",
        where="\n            ".join(counted(reasons)),
        hint="the report shows the holes; what is mended is measured by the same command",
    )
