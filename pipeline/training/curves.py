"""Loss curves as a picture: one line an expert, told apart without colour. Reads no file, needs no screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.colours import OKABE_ITO
from pipeline.errors import shown
from pipeline.training.steplog import Step

#: The picture's name, in an expert's directory and beside all experts of a config.
CURVE = "loss.svg"
_DASHES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_COLOURS = (*OKABE_ITO, "#000000")
_MARKS, _WINDOW = 8, 20


def draw_losses(curves: Mapping[str, Sequence[Step]], path: Path) -> None:
    """Draw the loss against the step, in long runs its mean over the last few steps, as an SVG.

    The same curves give the same bytes with the same version of matplotlib.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "mergescale", "font.size": 9.0, "text.parse_math": False}):
        figure = Figure(figsize=(7.0, 4.0), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, steps) in enumerate(curves.items()):
            x = [step.step for step in steps]
            axes.plot(
                x,
                _smooth([step.loss for step in steps]),
                label=shown(name, 80),
                linewidth=1.3,
                **line_style(number),
                markevery=max(1, len(x) // _MARKS),
                markersize=4.0,
            )
        axes.set_xlabel("step")
        axes.set_ylabel("loss (nats per answer token)")
        axes.set_ylim(bottom=0.0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def line_style(number: int) -> dict[str, Any]:
    """How the line of that number looks: dashes and marker together are its own among 28."""
    return {
        "linestyle": _DASHES[number % len(_DASHES)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "color": _COLOURS[number % len(_COLOURS)],
    }


def _smooth(losses: Sequence[float]) -> list[float]:
    """The mean over a window behind each step, a twentieth of the run wide: single batches are noise."""
    width = max(1, len(losses) // _WINDOW)
    found = []
    for end in range(1, len(losses) + 1):
        part = losses[max(0, end - width) : end]
        found.append(sum(part) / len(part))
    return found
