"""All figures of a report, drawn: each as SVG and PNG, or the sentence why it is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from evals.studies.report.figures.law import law
from evals.studies.report.figures.lines import against_count, against_size, apartness, retention
from evals.studies.report.figures.marks import against_multitask, heat
from evals.studies.report.figures.style import as_png, as_svg, styled
from evals.studies.report.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure of the report. name: of its files.  why: it is left out, and then there is neither file."""

    name: str
    title: str
    caption: str
    svg: bytes = b""
    png: bytes = b""
    why: str = ""


def draw_all(study: Study) -> tuple[Picture, ...]:
    """Every figure, in reading order. The same tables give the same bytes with the same matplotlib."""
    with styled():
        return tuple(_draw(*one) for one in _wanted(study))


def _draw(name: str, title: str, caption: str, make: Callable[[], Figure | str]) -> Picture:
    made = make()
    if isinstance(made, str):
        return Picture(name, title, caption, why=made)
    made.draw_without_rendering()
    made.set_layout_engine("none")  # it is laid out now: once, not again for each format
    return Picture(name, title, caption, as_svg(made), as_png(made))


def _wanted(study: Study) -> Iterator[tuple[str, str, str, Callable[[], Figure | str]]]:
    """(name, title, caption, function) of every figure."""
    bars = "Bars are 95% intervals; lines break where a score is missing; the line at 1 is the reference."
    for role in study.roles:
        yield (
            f"{role}-size", f"{role.capitalize()} against model size",
            f"A line a method, beside models that are no merge. {bars}", partial(against_size, study, role),
        )  # fmt: skip
    for role in study.roles:
        yield (
            f"{role}-count", f"{role.capitalize()} against the number of experts",
            f"A line a size. {bars}", partial(against_count, study, role),
        )  # fmt: skip
    yield (
        "multitask", "Merges beside the multitask model",
        "One model trained on all held-in categories at once; base: what merges start from; "
        "the line at 1 is the reference.",
        partial(against_multitask, study),
    )  # fmt: skip
    if "held-in" in study.roles:
        yield (
            "spread", "How far methods are apart",
            "Best minus worst method's held-in score; only where every method has one.",
            partial(apartness, study, "held-in"),
        )  # fmt: skip
        yield (
            "retention", "What larger merges keep",
            "Held-in score with most experts over that with fewest.", partial(retention, study, "held-in"),
        )  # fmt: skip
    for role in study.roles:
        yield (
            f"{role}-heat", f"{role.capitalize()} by category and merged model",
            "Mean over a category's tasks and over seeds; orange is below the reference, purple above; "
            "hatched: missing.", partial(heat, study, role),
        )  # fmt: skip
    for role in study.roles:
        if any(fit.role == role for fit in study.tables.fits):
            yield (
                f"{role}-law", f"Scaling law of {role} scores",
                "Curves are the fit, bands its 95% interval. Open marks are predictions by a fit to fewer "
                "experts, with the interval in which the measured score should lie.",
                partial(law, study, role),
            )  # fmt: skip
