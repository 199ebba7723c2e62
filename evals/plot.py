"""A picture of scores: a panel a suite and metric, a row a task, a mark a model, with standard errors.

Models are told apart by the shape of their marks as well as by colour; scores that failed are named above
the legend. It draws what it is given.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from evals.fanout import Evaluation
from evals.suites import Suite
from pipeline.colours import OKABE_ITO
from pipeline.errors import InputError, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (*OKABE_ITO, "#000000")
_MARKS = "osD^v<>Ph*Xd"
_KINDS = (".svg", ".png", ".pdf")
_MOST_LABEL = 80
_ROW_INCHES, _WIDTH_INCHES = 0.42, 8.0


def check_plot(path: Path) -> None:
    """InputError unless the file's name ends as a picture's and its folder may be written or made."""
    if path.suffix not in _KINDS:
        raise InputError("not a picture", where=str(path), expected=" or ".join(_KINDS), found=path.suffix)
    folder = next(place for place in path.resolve().parents if place.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError("the picture cannot be written", where=str(path), found=f"{folder} is closed")


def draw_scores(suites: Sequence[Suite], evaluation: Evaluation, path: Path) -> None:
    """Draw every record (value, one standard error either side) and the chance level, into `path`."""
    from matplotlib import rc_context

    with rc_context({"text.parse_math": False}):  # labels are names: a $ in one begins no formula
        _draw(suites, evaluation, path)


def _draw(suites: Sequence[Suite], evaluation: Evaluation, path: Path) -> None:
    from matplotlib.figure import Figure

    parts = [part for suite in suites for part in _by_metric(suite)]
    heights = [len(part.tasks) for part in parts]
    size = (_WIDTH_INCHES, _ROW_INCHES * sum(heights) + 1.2 * len(parts) + 1)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(parts), 1, squeeze=False, height_ratios=heights)[:, 0]
    handles: dict[str, Any] = {}
    for part, axes in zip(parts, panels, strict=True):
        handles |= _panel(axes, part, evaluation)
    figure.legend(
        handles.values(),
        [shown(label, _MOST_LABEL) for label in handles],
        title=_failed(evaluation) or None,
        title_fontsize=8,
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _failed(evaluation: Evaluation) -> str:
    """A line or more for each model that has failed somewhere: "not scored: MODEL on SUITE/TASK, ..."."""
    found: dict[str, list[str]] = {}
    for one in evaluation.failures:
        found.setdefault(one.label, []).append(f"{one.suite}/{one.task}")
    return "\n".join(
        fill(f"not scored: {shown(label, _MOST_LABEL)} on {', '.join(names)}", 110)
        for label, names in found.items()
    )


def _by_metric(suite: Suite) -> list[Suite]:
    """The suite cut by metric: a perplexity of thousands and an accuracy share no axis."""
    metrics = dict.fromkeys(task.metric for task in suite.tasks)
    return [
        replace(suite, tasks=tuple(task for task in suite.tasks if task.metric == metric))
        for metric in metrics
    ]


def _panel(axes: Axes, suite: Suite, evaluation: Evaluation) -> dict[str, Any]:
    """A suite's tasks of one metric; returns label -> the mark for the legend."""
    rows = {task.name: row for row, task in enumerate(suite.tasks)}
    labels = list(evaluation.labels)
    mine = [one for one in evaluation.records if one.suite == suite.name]
    handles: dict[str, Any] = {}
    for number, label in enumerate(labels):
        found = [one for one in mine if one.label == label and one.task in rows]
        shift = (number - (len(labels) - 1) / 2) * 0.7 / len(labels)
        if found:
            handles[label] = axes.errorbar(
                [one.value for one in found],
                [rows[one.task] + shift for one in found],
                xerr=[one.stderr or 0.0 for one in found],
                fmt=_MARKS[number % len(_MARKS)],
                markersize=4.5,
                linewidth=1,
                color=_COLOURS[number % len(_COLOURS)],
            )
    for task, row in ((task, rows[task.name]) for task in suite.tasks if task.chance is not None):
        chance = axes.vlines(task.chance or 0.0, row - 0.45, row + 0.45, colors="0.5", linestyles=":")
        handles["(chance)"] = chance
    axes.set_yticks(range(len(rows)), [f"{task.category}/{task.name}" for task in suite.tasks])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", color="0.9")
    title = f"{suite.name} ({suite.role}): {suite.tasks[0].metric} ± standard error"
    axes.set_title(title, fontsize=10, loc="left")
    return handles
