"""Merges beside the multitask model, and the heat map of categories and merged models.

Each function returns a figure, or the sentence why there is nothing to show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evals.studies.report.figures.style import FAINT, INK, PAPER, beside_merges, legend, look, panels
from evals.studies.report.study import Study
from evals.studies.tables.values import Estimate, Role, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NUMBERED = 14  # columns: with more, figures inside the squares are too small to read


def against_multitask(study: Study) -> Figure | str:
    """A row a base, a mark a method at the largest number of experts, a cross for the multitask model and,
    held-in, a mark for the base itself.
    """
    count = study.counts[-1] if study.counts else 0
    there = [
        study.beside("multitask", role, base.name, count) for role in study.roles for base in study.bases
    ]
    if not study.counts or not any(there):
        return "No multitask model was scored: there is none to set merges against."
    figure, (row,) = panels(1, len(study.roles), 1.3 + 0.5 * len(study.bases), share_x=False)
    for role, axes in zip(study.roles, row, strict=True):
        for number, method in enumerate(study.methods):
            y = [study.ratio(role, base.name, method, count) for base in study.bases]
            shift = (number - (len(study.methods) - 1) / 2) * 0.15
            _mark(axes, y, number, method, shift)
        for number, kind in beside_merges(role):
            _mark(
                axes, [study.beside(kind, role, base.name, count) for base in study.bases], number, kind, 0.0
            )
        axes.axvline(1.0, color=INK, linewidth=0.8, zorder=0.9)
        axes.set_title(f"{role}, {count} experts")
        axes.set_xlabel("score / " + ("expert's" if role == "held-in" else "base's"))
        axes.set_yticks(range(len(study.bases)), [base.name for base in study.bases])
        axes.set_ylim(len(study.bases) - 0.5, -0.5)
    legend(figure)
    return figure


def _mark(axes: Axes, found: list[Estimate | None], number: int, label: str, shift: float) -> None:
    """A mark a row with its interval, none where it is missing."""
    style = look(number) | {"linestyle": "none"}
    rows = [(row + shift, one) for row, one in enumerate(found) if one]
    axes.plot([one.value for _, one in rows], [at for at, _ in rows], **style, label=label, markersize=5)
    for at, one in rows:
        if one.low is not None and one.high is not None:
            axes.hlines(at, one.low, one.high, colors=style["color"], linewidth=1.0)


def heat(study: Study, role: Role) -> Figure | str:
    """A row a merge at the largest number of experts, a column a category; missing squares are hatched."""
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.figure import Figure

    merges = [(base.name, method) for base in study.bases for method in study.methods]
    count = study.counts[-1] if study.counts else 0
    found = [(name, study.cell(role, name[0], "merge", name[1], count)) for name in merges]
    cells = [(name, cell) for name, cell in found if cell is not None]
    categories = list(dict.fromkeys(category for _, cell in cells for category in cell.by_category))
    values = [value for _, cell in cells for value in cell.by_category.values() if value is not None]
    if not values:
        return "There is no score of a merge yet."
    reach = max(0.05, max(abs(value - 1) for value in values))
    norm = TwoSlopeNorm(1.0, 1 - reach, 1 + reach)
    width = min(7.4, 3.4 + 0.55 * len(categories))
    figure = Figure(figsize=(width, 1.6 + 0.26 * len(cells)), layout="constrained")
    axes = figure.add_subplot()
    shades = [_shades(cell, categories) for _, cell in cells]
    image = axes.pcolormesh(shades, cmap="PuOr", norm=norm, edgecolors=PAPER, linewidth=0.8)
    axes.invert_yaxis()
    for row, (_, cell) in enumerate(cells):
        _squares(axes, row, cell, categories, reach)
    axes.set_xticks(
        [at + 0.5 for at in range(len(categories))],
        categories,
        rotation=35,
        ha="right",
        rotation_mode="anchor",
    )
    names = [f"{base}  {method}" for (base, method), _ in cells]
    axes.set_yticks([at + 0.5 for at in range(len(cells))], names, fontsize=8)
    for edge in range(len(study.methods), len(cells), len(study.methods)):
        axes.axhline(edge, color=INK, linewidth=1.0)
    axes.grid(visible=False)
    axes.set_title(f"{role}, {count} experts")
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("score / " + ("expert's" if role == "held-in" else "base's"))
    return figure


def _shades(cell: Summary, categories: list[str]) -> list[float]:
    found = [cell.by_category.get(category) for category in categories]
    return [float("nan") if value is None else value for value in found]


def _squares(axes: Axes, row: int, cell: Summary, categories: list[str], reach: float) -> None:
    """Figures in the squares while they fit; hatching where there is none."""
    from matplotlib.patches import Rectangle

    for column, category in enumerate(categories):
        value = cell.by_category.get(category)
        if value is None:
            hatched: dict[str, Any] = {"fill": False, "hatch": "////", "edgecolor": FAINT, "linewidth": 0}
            axes.add_patch(Rectangle((column, row), 1, 1, **hatched))
        elif len(categories) <= _NUMBERED:
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7.5}
            colour = "#fefefe" if abs(value - 1) > 0.6 * reach else "#101010"
            axes.text(column + 0.5, row + 0.5, f"{value:.2f}", color=colour, **style)
