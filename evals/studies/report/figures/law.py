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
    figure, rows = panels(len(qualities), len(methods), 1.2 + 2.1 * len(qualities))
    for quality, row in zip(qualities, rows, strict=True):
        row[0].set_ylabel(f"{role} score / reference")
        for method, axes in zip(methods, row, strict=True):
            axes.set_title(f"{quality}, {method}", fontsize=8.5)
            if (quality, method) in fits:
                _curves(axes, fits[quality, method], [size for size, _ in sizes])
            else:
                axes.text(0.5, 0.5, "no fit", transform=axes.transAxes, ha="center", va="center")
            count_axis(axes, sorted({point.count for point in points}))
    for axes in rows[-1]:
        axes.set_xlabel("number of experts")
    _explain(rows[0][0], points)
    legend(figure)
    return figure


def _curves(axes: Axes, fit: Fit, sizes: list[str]) -> None:
    """Each size: the curve, its band, full marks for what was fitted and open ones for what was held out."""
    for number, size in enumerate(sizes):
        points = sorted((one for one in fit.points if one.size == size), key=lambda one: one.count)
        if not points:
            continue
        style = look(number)
        x = [point.count for point in points]
        axes.plot(
            x, [one.predicted for one in points], color=style["color"], linestyle=style["linestyle"], lw=1.2
        )
        nan = float("nan")
        axes.fill_between(
            x,
            [nan if one.low is None else one.low for one in points],
            [nan if one.high is None else one.high for one in points],
            color=style["color"],
            alpha=0.15,
            linewidth=0,
        )
        for held in (False, True):
            _observed(axes, [one for one in points if one.held == held], style, held)
        axes.plot([], [], **style, label=size, markersize=4.8)


def _observed(axes: Axes, points: list[Point], style: dict[str, str], held: bool) -> None:
    seen = [(one.count, one.observed) for one in points if one.observed is not None]
    axes.plot(
        [at for at, _ in seen],
        [value for _, value in seen],
        color=style["color"],
        marker=style["marker"],
        linestyle="none",
        markersize=6.5 if held else 4.8,
        markerfacecolor="none" if held else style["color"],
    )


def _explain(axes: Axes, points: list[Point]) -> None:
    """What full and open marks mean, in the legend."""
    mark: dict[str, Any] = {"color": INK, "marker": "o", "linestyle": "none"}
    axes.plot([], [], **mark, markersize=4.8, label="fitted")
    if any(point.held for point in points):
        axes.plot([], [], **mark, markersize=6.5, markerfacecolor="none", label="held out, tests the fit")
