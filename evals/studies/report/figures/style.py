"""How figures look: colours the colour-blind tell apart, a marker and a dash of its own for every line.

It keeps matplotlib's global state as it found it, and draws on no screen.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from evals.studies.tables.values import Estimate, Kind, Role
from pipeline.colours import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The colours that the page replaces by those of its scheme, light or dark: text, faint lines, background.
INK, FAINT, PAPER = "#1f2328", "#d8dee4", "#ffffff"
_COLOURS = (*OKABE_ITO, INK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")
#: Letters are drawn as shapes: the same everywhere, whatever fonts a reader has.
_SETTINGS = {
    "svg.hashsalt": "mergescale",
    "svg.fonttype": "path",
    "text.parse_math": False,  # labels are names: a $ in one begins no formula
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "savefig.facecolor": PAPER,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
_DPI = 150


def styled() -> AbstractContextManager[None]:
    """Our settings for as long as the context lasts."""
    from matplotlib import rc_context

    return rc_context(_SETTINGS)  # type: ignore[arg-type]


def panels(
    rows: int, columns: int, height_inches: float, *, share_x: bool = True
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of equal panels that share their scales, 7.4 inches wide or less for a single column."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4 if columns > 1 else 5.6, height_inches), layout="constrained")
    found = figure.subplots(rows, columns, squeeze=False, sharex=share_x, sharey=True)
    return figure, [list(row) for row in found]


def look(number: int) -> dict[str, Any]:
    """A line's colour, marker and dash: together its own among 28."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "linestyle": _DASHES[number % len(_DASHES)],
    }


def beside_merges(role: Role) -> list[tuple[int, Kind]]:
    """What is drawn beside merges, with the number of its look; held-out the base is the line at 1."""
    return [(6, "multitask"), (5, "base")] if role == "held-in" else [(6, "multitask")]


def line(
    axes: Axes, x: Sequence[float], y: Sequence[Estimate | None], number: int, label: str, shift: float = 0.0
) -> None:
    """A line with the 95% interval of every point; it is broken where a point is missing.

    shift: moves it along x, in 25ths of an inch, so that intervals do not hide each other.
    """
    from matplotlib.transforms import ScaledTranslation

    style = look(number)
    moved = axes.transData + ScaledTranslation(shift / 25, 0, axes.figure.dpi_scale_trans)
    axes.plot(
        x,
        [one.value if one else float("nan") for one in y],
        **style,
        label=label,
        linewidth=1.4,
        markersize=4.8,
        transform=moved,
    )
    bars = [(at, one.low, one.high) for at, one in zip(x, y, strict=True) if one]
    drawn = [(at, low, high) for at, low, high in bars if low is not None and high is not None]
    axes.vlines(
        [at for at, _, _ in drawn],
        [low for _, low, _ in drawn],
        [high for _, _, high in drawn],
        colors=style["color"],
        linewidth=1.0,
        transform=moved,
    )
    ends = [end for one in y if one for end in (one.value, one.low, one.high) if end is not None]
    axes.update_datalim([(at, end) for at in x for end in ends])
    axes.autoscale_view()


def size_axis(axes: Axes, sizes: dict[str, int]) -> None:
    """x is the number of parameters, logarithmic, with the sizes' names as its only ticks."""
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    axes.set_xticks(list(sizes.values()), list(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = min(sizes.values()), max(sizes.values())
    margin = (high / low) ** 0.12 if high > low else 1.2
    axes.set_xlim(low / margin, high * margin)


def count_axis(axes: Axes, counts: Sequence[int]) -> None:
    """x is the number of experts, one tick each."""
    axes.set_xticks(counts, [str(count) for count in counts])
    margin = 0.12 * (max(counts) - min(counts)) or 0.5
    axes.set_xlim(min(counts) - margin, max(counts) + margin)


def one_line(axes: Axes) -> None:
    """A thin line at 1: as good as the reference."""
    axes.axhline(1.0, color=INK, linewidth=0.8, zorder=0.9)


def legend(figure: Figure) -> None:
    """One legend for all panels, below them."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    fits = sum(len(label) + 10 for label in found) < 100
    columns = len(found) if fits else 3
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns)


def as_svg(figure: Figure) -> bytes:
    """The figure as SVG: no date in it, the same bytes for the same figure."""
    sink = io.BytesIO()
    figure.savefig(sink, format="svg", metadata={"Date": None})
    return sink.getvalue()


def as_png(figure: Figure) -> bytes:
    """The figure as PNG, 150 dots an inch."""
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=_DPI, metadata={"Software": None})
    return sink.getvalue()
