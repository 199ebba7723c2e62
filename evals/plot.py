"""A picture of scores: one panel a suite, one row a task, one mark a model, with standard errors.

Models are told apart by the shape of their marks as well as by colour. It draws what it is given.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.fanout import Evaluation
from evals.suites import Suite
from pipeline.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKS = "osD^v<>Ph*Xd"
_KINDS = (".svg", ".png", ".pdf")
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
    from matplotlib.figure import Figure

    tasks = sum(len(suite.tasks) for suite in suites)
    figure = Figure(
        figsize=(_WIDTH_INCHES, _ROW_INCHES * tasks + 1.2 * len(suites) + 1), layout="constrained"
    )
    heights = [len(suite.tasks) for suite in suites]
    panels = figure.subplots(len(suites), 1, squeeze=False, height_ratios=heights)[:, 0]
    handles: dict[str, Any] = {}
    for suite, axes in zip(suites, panels, strict=True):
        handles |= _panel(axes, suite, evaluation)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _panel(axes: Axes, suite: Suite, evaluation: Evaluation) -> dict[str, Any]:
    """One suite; returns label -> the mark for the legend."""
    rows = {task.name: row for row, task in enumerate(suite.tasks)}
    labels = list(evaluation.labels)
    handles: dict[str, Any] = {}
    for number, label in enumerate(labels):
        found = [one for one in evaluation.records if one.label == label and one.suite == suite.name]
        shift = (number - (len(labels) - 1) / 2) * 0.7 / len(labels)
        if found:
            handles[label] = axes.errorbar(
                [one.value for one in found],
                [rows[one.task] + shift for one in found],
                xerr=[one.stderr or 0.0 for one in found],
                fmt=_MARKS[number % len(_MARKS)],
                markersize=4.5,
                linewidth=1,
                color=f"C{number % 10}",
            )
    for task, row in ((task, rows[task.name]) for task in suite.tasks if task.chance is not None):
        chance = axes.vlines(task.chance or 0.0, row - 0.45, row + 0.45, colors="0.5", linestyles=":")
        handles["(chance)"] = chance
    axes.set_yticks(range(len(rows)), [f"{task.category}/{task.name}" for task in suite.tasks])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", color="0.9")
    metrics = ", ".join(dict.fromkeys(task.metric for task in suite.tasks))
    axes.set_title(f"{suite.name} ({suite.role}): {metrics} ± standard error", fontsize=10, loc="left")
    return handles
