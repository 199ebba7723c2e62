"""Scores against size and against the number of experts, what is kept, how far methods are apart.

Each function returns a figure, or the sentence why there is nothing to show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from evals.studies.report.figures.style import (
    beside_merges,
    count_axis,
    legend,
    line,
    one_line,
    panels,
    size_axis,
)
from evals.studies.report.study import Study
from evals.studies.tables.values import Estimate, Role

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ONE_SIZE = "Every base has the same size: there is nothing to compare sizes with."
ONE_COUNT = "Only one number of experts was merged: there is nothing to compare it with."
NO_MERGES = "There is no score of a merge yet."
_AGAINST = {"held-in": "score / expert's", "held-out": "score / base's"}


def against_size(study: Study, role: Role) -> Figure | str:
    """A line a method, one for the multitask model and, held-in, one for the base that merges start from; a
    column of panels a quality, a row the fewest and one the most experts.
    """
    if len(study.sizes) < 2:
        return ONE_SIZE
    if not _has_merges(study, role):
        return NO_MERGES
    counts = list(dict.fromkeys((study.counts[0], study.counts[-1])))
    figure, rows = panels(len(counts), len(study.qualities), 0.8 + 2.2 * len(counts))
    for count, row in zip(counts, rows, strict=True):
        for quality, axes in zip(study.qualities, row, strict=True):
            bases = study.of(quality)
            x = [float(base.parameters) for base in bases]
            for number, method in enumerate(study.methods):
                y = [study.ratio(role, base.name, method, count) for base in bases]
                line(axes, x, y, number, method, _shift(number, len(study.methods)))
            for number, kind in beside_merges(role):
                y = [study.beside(kind, role, base.name, count) for base in bases]
                if any(y):
                    line(axes, x, y, number, kind)
            one_line(axes)
            axes.set_title(f"{quality}, {count} experts")
            size_axis(axes, study.sizes)
    _label(rows, "model size (parameters)", f"{role} {_AGAINST[role]}")
    legend(figure)
    return figure


def against_count(study: Study, role: Role) -> Figure | str:
    """A line a size; a column of panels a method, a row a quality."""
    if len(study.counts) < 2:
        return ONE_COUNT
    if not _has_merges(study, role):
        return NO_MERGES
    figure, rows = panels(len(study.qualities), len(study.methods), 0.9 + 1.9 * len(study.qualities))
    names = list(study.sizes)
    x = [float(count) for count in study.counts]
    for quality, row in zip(study.qualities, rows, strict=True):
        for method, axes in zip(study.methods, row, strict=True):
            for base in study.of(quality):
                number = names.index(base.size)
                y = [study.ratio(role, base.name, method, count) for count in study.counts]
                line(axes, x, y, number, base.size, _shift(number, len(names)))
            one_line(axes)
            axes.set_title(f"{quality}, {method}", fontsize=8.5)
            count_axis(axes, study.counts)
    _label(rows, "number of experts", f"{role} {_AGAINST[role]}")
    legend(figure)
    return figure


def retention(study: Study, role: Role) -> Figure | str:
    """The share of the smallest merge's score that the largest keeps, against size: a line a method."""
    if len(study.counts) < 2:
        return ONE_COUNT
    few, many = study.counts[0], study.counts[-1]

    def kept(base: str, method: str) -> float | None:
        first, last = (study.ratio(role, base, method, count) for count in (few, many))
        return last.value / first.value if first and last and first.value else None

    label = f"{role} score kept from {few} to {many} experts"
    return _by_method(study, kept, label)


def apartness(study: Study, role: Role) -> Figure | str:
    """Best minus worst method against size: a line a number of experts."""
    if len(study.sizes) < 2:
        return ONE_SIZE
    if len(study.methods) < 2:
        return "Only one method was studied: there is nothing it could differ from."
    if not _has_merges(study, role):
        return NO_MERGES
    figure, (row,) = panels(1, len(study.qualities), 3.0)
    for quality, axes in zip(study.qualities, row, strict=True):
        bases = study.of(quality)
        x = [float(base.parameters) for base in bases]
        for number, count in enumerate(study.counts):
            y = [_apart(study, role, base.name, count) for base in bases]
            line(axes, x, y, number, f"{count} experts")
        axes.set_title(quality)
        size_axis(axes, study.sizes)
    row[0].set_ylim(bottom=0.0)
    _label([row], "model size (parameters)", f"{role}: best − worst method")
    legend(figure)
    return figure


def _by_method(study: Study, figure_of: Callable[[str, str], float | None], label: str) -> Figure | str:
    """A line a method of a plain figure of (base, method); a panel a quality."""
    if len(study.sizes) < 2:
        return ONE_SIZE
    drawn, (row,) = panels(1, len(study.qualities), 3.0)
    found = False
    for quality, axes in zip(study.qualities, row, strict=True):
        bases = study.of(quality)
        x = [float(base.parameters) for base in bases]
        for number, method in enumerate(study.methods):
            y = [_bare(figure_of(base.name, method)) for base in bases]
            found |= any(y)
            line(axes, x, y, number, method)
        one_line(axes)
        axes.set_title(quality)
        size_axis(axes, study.sizes)
    _label([row], "model size (parameters)", label)
    legend(drawn)
    return drawn if found else NO_MERGES


def _apart(study: Study, role: Role, base: str, count: int) -> Estimate | None:
    """The range of the methods, None unless every one is there: a gap must not look like agreement."""
    found = [study.ratio(role, base, method, count) for method in study.methods]
    values = [one.value for one in found if one]
    return _bare(max(values) - min(values)) if len(values) == len(study.methods) else None


def _bare(value: float | None) -> Estimate | None:
    return None if value is None else Estimate(value, None, None, None)


def _has_merges(study: Study, role: Role) -> bool:
    cells = study.tables.summaries
    return any(one.role == role and one.subject.kind == "merge" and one.ratio for one in cells)


def _shift(number: int, among: int) -> float:
    """Hundredths of an axis that keep the intervals of one place beside each other."""
    return number - (among - 1) / 2


def _label(rows: list[list[Axes]], x: str, y: str) -> None:
    """Name x under the lowest panels and y beside the first ones."""
    for axes in rows[-1]:
        axes.set_xlabel(x)
    for row in rows:
        row[0].set_ylabel(y if len(y) < 36 else y.replace(" kept", "\nkept"))
