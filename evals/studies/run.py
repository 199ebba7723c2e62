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
from evals.studies.config import StudyConfig
from evals.studies.estimate import Grounds, in_words, left_of, total
from evals.studies.grid import Cell, merges, tuning_cells, with_settings
from evals.studies.members import Member
from evals.studies.order import SCORES, TUNING, Entry, Report, Study, entries, merged
from evals.studies.report.words import several
from evals.studies.state import (
    UNTUNED,
    counted,
    earlier_trials,
    stores_of,
    write_failures,
    write_state,
)
from evals.studies.tuning import Trial, choices, judge, pairs_of
from evals.task import Task
from pipeline.checkpoint.nonfinite import in_lines
from pipeline.errors import LIST_ITEM, MergescaleError, RunError
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
    trying = tuning_cells(config)
    tried = merged(study, trying)
    pairs = pairs_of(study, tried)
    running.report(_left(study, asked, pairs))
    trials = _tune(study, running, trying, tried, pairs)
    if tuple(trials) != earlier:
        members = chosen_merges(study, cells, trials)
        asked = entries(study, [*study.members, *members])
        write_state(config.out, asked, trials, *said)
    running.report(_summary(study, cells, asked))
    evaluation = _evaluate(study, running, [(e.model, e.task) for e in asked if e.model is not None], SCORES)
    failures = _failures(asked, evaluation)
    write_failures(config.out, failures)
    kept = _keep(study, members, running) if config.keep else []
    return _incomplete(asked, failures, kept)


def _left(study: Study, asked: Sequence[Entry], pairs: Sequence[tuple[Model, Task]]) -> str:
    """What a plan says is left, counted before anything is measured."""
    grounds = Grounds.here(study.config, study.setting)
    _, left = left_of(grounds, study, asked, pairs)
    return f"{study.config.name}, left: {in_words(total(left.values()), grounds.device)}"


def _tune(
    study: Study,
    running: Running,
    cells: Sequence[Cell],
    members: Sequence[Member],
    pairs: Sequence[tuple[Model, Task]],
) -> list[Trial]:
    """Every combination of parameters on validation rows."""
    if study.config.tuning is None or not cells:
        return []
    running.report(f"tuning: {len(cells)} merges on validation rows, {len(pairs)} scores")
    return judge(cells, members, study, _evaluate(study, running, pairs, TUNING))


def chosen_merges(study: Study, cells: Sequence[Cell], trials: Sequence[Trial]) -> list[Member]:
    """The merges with the parameters that were chosen for them; without a choice they are holes.

    So are those that lack an expert: for that reason, whatever is tuned.
    """
    experts = {
        (base.name, run): set(base.in_run(run).experts) for base in study.config.bases for run in base.runs
    }
    tuned = {method.name: method.tune for method in study.config.methods if method.tune}
    best = choices(trials)
    final, waiting = [], {}
    for cell in cells:
        settings = dict(best.get((cell.base, cell.method, cell.count), ()))
        values = tuned.get(cell.method, {})
        if settings.keys() != values.keys() or any(settings[name] not in values[name] for name in values):
            settings = {}  # of an earlier file, which tuned something else
        final.append(with_settings(cell, settings))
        if values and not settings and experts[cell.base, cell.run].issuperset(cell.experts):
            waiting[final[-1]] = _why_untuned(cell, trials)
    return merged(study, final, waiting)


def _why_untuned(cell: Cell, trials: Sequence[Trial]) -> str:
    """Why a merge has no parameters: trials that failed, or none made yet."""
    place = (cell.base, cell.method, cell.count)
    failed = [one for one in trials if (one.base, one.method, one.count) == place and one.score is None]
    whys = [one.why for one in failed if one.why]
    return f"its parameters are not tuned: {whys[0]}" if whys else UNTUNED


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


def _keep(study: Study, members: Sequence[Member], running: Running) -> list[str]:
    """Write the merged models under OUT/merged; those that are there are left as they are.

    Returns why models could not be written, a line each: the others are.
    """
    failed = []
    for member in members:
        if member.model is None or member.model.merge is None:
            continue
        merge = member.model.merge
        place = study.config.out / "merged" / member.model.label.replace(" ", "-")
        try:
            with running.start() as executor:
                manifest = run_merge(merge.plan, place, executor, show_progress=running.show_progress)
        except MergescaleError as error:
            failed.append(f"not kept: {place}: {error.one_line}")
        else:
            running.report(f"kept: {place}")
            for line in in_lines(manifest.nonfinite or ()):
                running.report(f"warning: {place}: {line}")
    return failed


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
        "smallest_effect": config.smallest_effect,
        "protocol": _protocol(study),
    }
    return models, facts


def _protocol(study: Study) -> list[list[str]]:
    """The rules of the study in words, (label, text) pairs."""
    config = study.config
    own = "those whose expert is in the merge" if config.scored == "merged" else "all"
    items = "as many as the suites say" if config.limit is None else f"{config.limit} at most"
    items += "".join(f", {name} {limit}" for name, limit in config.limits.items())
    items += "".join(f", of models of {size} {limit}" for size, limit in config.size_limits.items())
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
        ("runs of the experts", _runs(config)),
        ("held-in tasks of a merge", own),
        ("items a task", items),
        ("tuned on validation rows", ", ".join(tuned) or "nothing"),
        ("models computed in", f"{study.setting.dtype} on {study.setting.device}"),
        ("tasks left out, as their data was not there", ", ".join(left_out) or "none"),
    ]
    return [list(pair) for pair in pairs]


def _runs(config: StudyConfig) -> str:
    """How often every expert was trained, in words."""
    by_number: dict[int, list[str]] = {}
    for base in config.bases:
        by_number.setdefault(len(base.runs), []).append(base.name)
    if len(by_number) == 1:
        return f"{next(iter(by_number))} of every base"
    return ", ".join(f"{number} of {' and '.join(names)}" for number, names in by_number.items())


def _summary(study: Study, cells: Sequence[Cell], asked: Sequence[Entry]) -> str:
    holes = sum(not one.key for one in asked)
    text = f"{study.config.name}: {len(cells)} merges, {len(asked) - holes} scores"
    return text + (f"; {holes} cannot be had, see the report" if holes else "")


def _incomplete(
    asked: Sequence[Entry], failures: Mapping[str, str], not_kept: Sequence[str]
) -> RunError | None:
    """An error for what is missing: each reason once, with how many scores it costs; models not kept."""
    gone = [one.why or failures.get(one.key, "") for one in asked]
    reasons = [why for why in gone if why]
    if not reasons and not not_kept:
        return None
    return RunError(
        f"{len(reasons)} of {len(asked)} scores are missing"
        + (f", {several(len(not_kept), 'model')} not kept" if not_kept else ""),
        where=LIST_ITEM.join([*counted(reasons), *not_kept]),
        hint="the report shows the holes; what is mended is measured by the same command",
    )
