"""The fitted scaling law: curves, intervals, the points fitted to and those that test them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evals.studies.report.figures.style import INK, count_axis, legend, look, panels
from evals.studies.report.study import Study
from evals.studies.tables.values import Fit, Point, Role

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def law(study: Study, role: Role) -> Figure | str:
    """A column of panels a method, a row a quality, a curve a size."""
    fits = {(fit.quality, fit.method): fit for fit in study.tables.fits if fit.role == role and fit.points}
    if not fits:
        whys = dict.fromkeys(fit.why for fit in study.tables.fits if fit.role == role and fit.why)
        return "No law was fitted" + (f": {'; '.join(whys)}." if whys else ".")
    qualities = [quality for quality in study.qualities if any(key[0] == quality for key in fits)]
    methods = [method for method in study.methods if any(key[1] == method for key in fits)]
    points = [point for fit in fits.values() for point in fit.points]
    sizes = sorted({point.size: point.parameters for point in points}.items(), key=lambda one: one[1])
    seen = {point.count for point in points if point.observed is not None}
    ticks = sorted(seen | {max(point.count for point in points)})
    figure, rows = panels(len(qualities), len(methods), 1.2 + 2.1 * len(qualities))
    for quality, row in zip(qualities, rows, strict=True):
        row[0].set_ylabel(f"{role} score / reference")
        for method, axes in zip(methods, row, strict=True):
            axes.set_title(f"{quality}, {method}", fontsize=8.5)
            if (quality, method) in fits:
                _curves(axes, fits[quality, method], [size for size, _ in sizes])
            else:
                axes.text(0.5, 0.5, "no fit", transform=axes.transAxes, ha="center", va="center")
            count_axis(axes, ticks)
    for axes in rows[-1]:
        axes.set_xlabel("number of experts")
    _explain(rows[0][0], points)
    legend(figure)
    return figure


def _curves(axes: Axes, fit: Fit, sizes: list[str]) -> None:
    """Each size: the curve with its band, full marks for what was seen, open ones for what was foretold."""
    nan = float("nan")
    for number, size in enumerate(sizes):
        points = sorted((one for one in fit.points if one.size == size), key=lambda one: one.count)
        curve = [one for one in points if not one.held]
        held = [one for one in points if one.held]
        style = look(number)
        x = [one.count for one in curve]
        lows = [nan if one.low is None else one.low for one in curve]
        highs = [nan if one.high is None else one.high for one in curve]
        axes.fill_between(x, lows, highs, color=style["color"], alpha=0.15, linewidth=0)
        axes.plot(x, [one.predicted for one in curve], **(style | {"marker": None}), linewidth=1.2)
        seen = {one.count: one.observed for one in points if one.observed is not None}
        mark = style | {"linestyle": "none"}
        axes.plot(list(seen), list(seen.values()), **mark, markersize=4.8)
        foretold = [one.predicted for one in held]
        axes.plot([one.count for one in held], foretold, **mark, markersize=7, markerfacecolor="none")
        barred = [
            (one.count, one.low, one.high) for one in held if one.low is not None and one.high is not None
        ]
        for at, low, high in barred:
            axes.vlines(at, low, high, colors=style["color"], linewidth=1.0)
        axes.plot([], [], **style, label=size, markersize=4.8)


def _explain(axes: Axes, points: list[Point]) -> None:
    """What full and open marks mean, in the legend."""
    mark: dict[str, Any] = {"color": INK, "marker": "o", "linestyle": "none"}
    axes.plot([], [], **mark, markersize=4.8, label="measured")
    if any(point.held for point in points):
        axes.plot([], [], **mark, markersize=7, markerfacecolor="none", label="predicted without it")
