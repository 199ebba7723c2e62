"""Claims in words, and figures gathered for them: which merges are compared. It judges nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evals.studies.tables.averages import Average, Measure
from evals.studies.tables.evidence import Evidence, Point, for_these
from evals.studies.tables.judging import Settled
from evals.studies.tables.noise import Noisy, average
from evals.studies.tables.values import Estimate, Finding

#: (size, quality, method, count) -> its average.
Cells = Mapping[tuple[str, str, str, int], Average]
#: (size, quality, method) -> its figure.
Figures = Mapping[tuple[str, str, str], Noisy]
#: How many of those left out are named.
NAMED = 3


@dataclass(frozen=True)
class Claim:
    """What is claimed and how it is tested, in words.

    units: what the sample of models is made of.  unit: what the effect is, {} being the measure's name.
    paper: the paper's own figure.  sign: the effect should be above zero (+1) or below it (-1).
    """

    number: int
    claim: str
    test: str
    units: str
    unit: str
    paper: str
    sign: int = 1


def make_finding(
    claim: Claim,
    names: tuple[str, str],
    evidence: tuple[Evidence, Evidence | None],
    settled: tuple[Settled, Settled | None],
) -> Finding:
    """A finding in words: of the measure that is judged, and of the one beside it where there is one."""
    (judged, other), (main, second) = evidence, settled
    reasons = [main.why or judged.lacking]
    if second is not None and second.verdict != main.verdict:
        reasons.append(f"on the {names[1]} the verdict would be: {second.verdict}")
    if judged.left_out:
        some = ", ".join(judged.left_out[:NAMED]) + (", ..." if len(judged.left_out) > NAMED else "")
        reasons.append(f"left out, lacking what they need: {len(judged.left_out)} ({some})")
    effect = main.lines[0].effect
    beside = None if other is None or second is None else (names[1], second.lines[0].effect, second.verdict)
    rest = {} if other is None else dict(other.rows)
    return Finding(
        claim.number,
        claim.claim,
        claim.test,
        effect,
        claim.unit.format(names[0]),
        main.lines if effect is not None else (),
        main.verdict,
        "; ".join(reasons),
        claim.paper,
        names[0],
        beside,
        tuple((what, figure, rest.get(what)) for what, figure in dict(judged.rows).items()),
    )


def usable(row: Average | None, measure: Measure, seeds: Sequence[int] | None = None) -> Noisy | None:
    """The figure of a row; None where it is missing or its reference cannot be told from zero."""
    found = None if row is None else row.over(measure, seeds)
    return found if found is not None and np.isfinite(found.items).all() else None


def at_count(
    cells: Cells, count: int, measure: Measure
) -> tuple[dict[tuple[str, str, str], Noisy], list[str]]:
    """((size, quality, method) -> figure of merges of `count` experts; what is missing)."""
    found, missing = {}, []
    for size, quality, method in dict.fromkeys(key[:3] for key in cells):
        figure = usable(cells.get((size, quality, method, count)), measure)
        if figure is None:
            missing.append(f"{size} {quality} {method} {count} experts")
        else:
            found[size, quality, method] = figure
    return found, missing


def whole(figures: Figures) -> tuple[dict[str, tuple[list[str], list[str]]], list[str]]:
    """(quality -> the sizes and methods all of whose pairs are there, what is left out for that).

    Methods that lack a size are left out; where all do, the size that most methods lack goes first.
    """
    found: dict[str, tuple[list[str], list[str]]] = {}
    left_out: list[str] = []
    for quality in dict.fromkeys(quality for _, quality, _ in figures):
        own = [(size, method) for size, its, method in figures if its == quality]
        sizes, methods = (list(dict.fromkeys(pair[index] for pair in own)) for index in (0, 1))
        while sizes:
            kept = [method for method in methods if all((size, method) in own for size in sizes)]
            if kept:
                break
            few = min(sizes, key=lambda size: sum(pair[0] == size for pair in own))
            sizes.remove(few)
            left_out.append(f"{few} {quality}")
        left_out += [f"{quality} {method}" for method in methods if method not in kept]
        found[quality] = (sizes, kept)
    return found, left_out


def mean_points(cells: Cells, figures: Figures) -> tuple[list[Point], list[str]]:
    """(a point a base: the mean over its methods, the same at all sizes of a quality; what is left out)."""
    grid, left_out = whole(figures)
    parameters = {key[:2]: row.subject.parameters for key, row in cells.items()}
    points = [
        Point(
            size,
            quality,
            parameters[size, quality],
            average(figures[size, quality, method] for method in methods),
        )
        for quality, (sizes, methods) in grid.items()
        for size in sizes
    ]
    return points, left_out


def by_name(figures: Mapping[str, Sequence[Noisy]]) -> dict[str, Estimate | None]:
    """The mean of the figures that share a name."""
    return {name: for_these(average(ones)).estimate for name, ones in figures.items() if ones}
