"""The paper's five findings, each tested on a study's own scores. It reads averages and draws nothing itself.

Claims and figures: Yadav et al. 2024, arXiv 2410.03617. What lacks a score is left out of a test, and named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from evals.ratios import Floats
from evals.studies.tables.averages import Average, Measure, chance_is_known
from evals.studies.tables.claims import (
    Cells,
    Claim,
    at_count,
    by_name,
    make_finding,
    mean_points,
    usable,
    whole,
)
from evals.studies.tables.evidence import (
    Evidence,
    Point,
    contrast_over,
    mean_over,
    retention_over,
    trend_over,
)
from evals.studies.tables.judging import Settled, settle
from evals.studies.tables.noise import Noisy, average, total
from evals.studies.tables.sheet import Sheet
from evals.studies.tables.values import SMALLEST_EFFECT, Estimate, Finding
from evals.studies.tables.wording import (
    BEATS_MULTITASK,
    GENERALISATION,
    LARGER_MODELS,
    MEASURES,
    METHODS_ALIKE,
    more_experts_claim,
    strong_bases_claim,
)

Gather = Callable[[Measure], Evidence]


def findings(
    sheet: Sheet, rows: Sequence[Average], qualities: Sequence[str], smallest: float = SMALLEST_EFFECT
) -> tuple[Finding, ...]:
    """All five in order: 3 in two parts, 4 once a quality.

    rows: `averages(sheet)`.  qualities: of bases, from weak to strong.  smallest: effect of interest.
    Held-in findings are judged on the share of the experts' gain over guessing where all tasks have a level
    of chance, else on the paper's ratio; held-out ones on the mean difference over the mean score of the
    base. The paper's ratio stands beside both.
    """
    merges = [row for row in rows if row.subject.kind == "merge"]
    held_in = {row.cell: row for row in merges if row.role == "held-in"}
    held_out = {row.cell: row for row in merges if row.role == "held-out"}
    multitask = {row.cell: row for row in rows if row.subject.kind == "multitask" and row.role == "held-out"}
    inside, outside = _measures(sheet)
    asked: list[tuple[Claim, tuple[Measure, Measure | None], Gather]] = [
        (strong_bases_claim(qualities), inside, lambda one: strong_bases(held_in, qualities, one)),
        (LARGER_MODELS, inside, lambda one: larger_models(held_in, one)),
        (GENERALISATION, outside, lambda one: generalisation(held_out, one)),
        (BEATS_MULTITASK, outside, lambda one: beats_multitask(held_out, multitask, one)),
        *((more_experts_claim(quality), inside, _retention(held_in, quality)) for quality in qualities),
        (METHODS_ALIKE, inside, lambda one: methods_alike(held_in, one)),
    ]
    judged = [gather(first) for _, (first, _), gather in asked]
    beside = [gather(second) if second is not None else None for _, (_, second), gather in asked]
    signs, units = [claim.sign for claim, _, _ in asked], [claim.units for claim, _, _ in asked]
    main = settle(judged, signs, units, smallest)
    others: list[Settled | None] = [None] * len(asked)
    there = [index for index, one in enumerate(beside) if one is not None]
    other = settle(
        [one for one in beside if one is not None],
        [signs[index] for index in there],
        [units[index] for index in there],
        smallest,
    )
    for index, one in zip(there, other, strict=True):
        others[index] = one
    return tuple(
        make_finding(
            claim,
            (MEASURES[first], MEASURES[second or first]),
            (judged[index], beside[index]),
            (main[index], others[index]),
        )
        for index, (claim, (first, second), _) in enumerate(asked)
    )


def _measures(sheet: Sheet) -> tuple[tuple[Measure, Measure | None], tuple[Measure, Measure | None]]:
    """What held-in and held-out findings are judged on, and what stands beside it."""
    inside = [question for question in sheet.questions if question.role == "held-in"]
    outside = [question for question in sheet.questions if question.role == "held-out"]
    rising = all(question.higher_is_better for question in outside)
    return (
        ("corrected", "ratio") if chance_is_known(inside) else ("ratio", None),
        ("pooled", "ratio") if rising else ("ratio", None),
    )


def _retention(cells: Cells, quality: str) -> Gather:
    return lambda measure: more_experts(cells, quality, measure)


def strong_bases(cells: Cells, qualities: Sequence[str], measure: Measure) -> Evidence:
    """Finding 1: merges of experts of the strongest base keep more than the same merges of the weakest.

    In each size the mean over methods and counts of differences between merges of the same experts.
    """
    if len(qualities) < 2:
        return Evidence(None, lacking="bases of one quality only")
    found: dict[str, dict[tuple[str, int], tuple[Noisy, Noisy]]] = {}
    left_out: list[str] = []
    parameters: dict[tuple[str, str], int] = {}
    both = (qualities[0], qualities[-1])
    places = dict.fromkeys((size, method, count) for size, quality, method, count in cells if quality in both)
    for size, method, count in places:
        where = f"{size} {method} {count} experts"
        weak, strong = (cells.get((size, quality, method, count)) for quality in both)
        if weak is None or strong is None:
            left_out.append(f"{where}: {both[weak is not None]}")
            continue
        seeds, missing = _paired(weak, strong, measure)
        left_out += [f"{where} seed {seed}" for seed in missing]
        under, over = (usable(row, measure, seeds) for row in (weak, strong))
        if under is not None and over is not None:
            found.setdefault(size, {})[method, count] = under, over
            parameters |= {(size, one.subject.quality): one.subject.parameters for one in (weak, strong)}
    points = [
        [
            Point(size, quality, parameters[size, quality], average(pair[side] for pair in ones.values()))
            for size, ones in found.items()
        ]
        for side, quality in enumerate(both)
    ]
    rows: dict[str, list[Noisy]] = {}
    for size, ones in found.items():
        rows[size] = [total([(1.0, over), (-1.0, under)]) for under, over in ones.values()]
    for ones in found.values():
        for (_, count), (under, over) in ones.items():
            rows.setdefault(f"{count} experts", []).append(total([(1.0, over), (-1.0, under)]))
    evidence = contrast_over(*points)
    lacking = evidence.lacking or "no pair of bases of one size is scored"
    return replace(evidence, lacking=lacking, left_out=tuple(left_out), rows=by_name(rows))


def _paired(weak: Average, strong: Average, measure: Measure) -> tuple[list[int], list[int]]:
    """(seeds of which both have merges of the same experts with whole scores, the others)."""
    seeds = sorted({*weak.experts, *strong.experts})
    paired = [
        seed
        for seed in seeds
        if weak.experts.get(seed) == strong.experts.get(seed)
        and all(usable(row, measure, [seed]) is not None for row in (weak, strong))
    ]
    return paired, [seed for seed in seeds if seed not in paired]


def larger_models(cells: Cells, measure: Measure) -> Evidence:
    """Finding 2: at the largest number of experts, held-in figures rise with size. Unit: a base."""
    figures, missing = at_count(cells, max(_counts(cells), default=0), measure)
    points, left_out = mean_points(cells, figures)
    return replace(trend_over(points), left_out=(*missing, *left_out))


def generalisation(cells: Cells, measure: Measure) -> Evidence:
    """Finding 3, first part: on held-out tasks merges are above their base. Unit: a base."""
    figures, left_out = {}, []
    for key, row in cells.items():
        figure = usable(row, measure)
        if figure is None:
            left_out.append(_where(key))
        else:
            figures[key] = total([(1.0, figure)], plus=-1.0)
    return _over_bases(
        figures, left_out, "no held-out scores", "share of cells at the base or above", at=True
    )


def beats_multitask(cells: Cells, multitask: Cells, measure: Measure) -> Evidence:
    """Finding 3, second part: on held-out tasks merges are above the model trained on all categories."""
    figures, left_out = {}, []
    for key, row in cells.items():
        size, quality, _, count = key
        over, under = usable(row, measure), usable(multitask.get((size, quality, "", count)), measure)
        if over is None or under is None:
            left_out.append(_where(key))
        else:
            figures[key] = total([(1.0, over), (-1.0, under)])
    lacking = "no held-out scores of a multitask model"
    return _over_bases(figures, left_out, lacking, "share of cells above multitask", at=False)


def _over_bases(
    figures: dict[tuple[str, str, str, int], Noisy],
    left_out: list[str],
    lacking: str,
    share: str,
    *,
    at: bool,
) -> Evidence:
    """The mean over bases of the mean over their merges. at: whether no difference counts in the share."""
    by_base: dict[str, list[Noisy]] = {}
    for (size, quality, _, _), figure in figures.items():
        by_base.setdefault(f"{size}, {quality}", []).append(figure)
    rows = by_name(by_base)
    if figures:
        held = sum(one.items[0] > 0 or (at and one.items[0] == 0) for one in figures.values())
        rows[share] = Estimate(float(held) / len(figures), None, None, None)
    evidence = mean_over({base: average(ones) for base, ones in by_base.items()}, "bases")
    return replace(evidence, lacking=evidence.lacking or lacking, left_out=tuple(left_out), rows=rows)


def more_experts(cells: Cells, quality: str, measure: Measure) -> Evidence:
    """Finding 4 for one quality of base: what is kept from fewest to most experts rises with size."""
    own = {key: row for key, row in cells.items() if key[1] == quality}
    counts = _counts(cells)
    if len(counts) < 2:
        return Evidence(None, lacking="fewer than two numbers of experts")
    (few, left_few), (many, left_many) = (
        at_count(own, count, measure) for count in (min(counts), max(counts))
    )
    shared = [key for key in few if key in many]
    lower, left_out = mean_points(own, {key: few[key] for key in shared})
    upper, _ = mean_points(own, {key: many[key] for key in shared})
    return replace(retention_over(lower, upper), left_out=(*left_few, *left_many, *left_out))


def methods_alike(cells: Cells, measure: Measure) -> Evidence:
    """Finding 5: at the largest number of experts, methods differ less the larger the models are.

    Judged on the variance between methods, net of what the noise of their scores makes of it; the slope is
    given in standard deviations: that of the variance over twice the mean standard deviation.
    """
    figures, missing = at_count(cells, max(_counts(cells), default=0), measure)
    grid, left_out = whole(figures)
    parameters = {key[:2]: row.subject.parameters for key, row in cells.items()}
    points = [
        Point(size, quality, parameters[size, quality], Noisy(_variance(one)))
        for quality, (sizes, methods) in grid.items()
        if len(methods) > 1
        for size in sizes
        for one in [[figures[size, quality, method] for method in methods]]
    ]
    left_out = (*missing, *left_out)  # type: ignore[assignment]
    if not points:
        lacking = "fewer than two methods at the largest number of experts"
        return Evidence(None, lacking=lacking, left_out=tuple(left_out))
    middle = math.fsum(point.figure.value for point in points) / len(points)
    rows = {f"{point.quality}, {point.size}": _root(point.figure) for point in points}
    if middle <= 0:
        lacking = "at no size do methods differ by more than the noise of their scores"
        return Evidence(None, lacking=lacking, left_out=tuple(left_out), rows=rows)
    scale = 1 / (2 * math.sqrt(middle))
    scaled = [replace(point, figure=Noisy(scale * point.figure.items)) for point in points]
    return replace(trend_over(scaled), left_out=tuple(left_out), rows=rows)


def _variance(figures: Sequence[Noisy]) -> Floats:
    """The variance between figures with resamples, net of that of their noise; it may be below zero."""
    plain, wide = (
        np.stack(np.broadcast_arrays(*(one.resampled(wide=widened) for one in figures)))[:, 1:]
        for widened in (False, True)
    )
    middle = np.array([one.value for one in figures])
    measured = float(middle.var(ddof=1))
    if not plain.size:
        return np.array([measured])
    noise = float((plain - middle[:, None]).var(axis=0, ddof=1).mean())
    between = wide.var(axis=0, ddof=1)
    return np.append(measured - noise, between - between.mean() + measured - noise)


def _root(figure: Noisy) -> Estimate:
    """A variance as a standard deviation, at least zero."""
    reach = 1.96 * math.sqrt(figure.variance)
    value, low, high = (math.sqrt(max(figure.value + step, 0.0)) for step in (0.0, -reach, reach))
    return Estimate(value, None, low if reach else None, high if reach else None)


def _counts(cells: Cells) -> set[int]:
    return {count for _, _, _, count in cells}


def _where(key: tuple[str, str, str, int]) -> str:
    size, quality, method, count = key
    return f"{size} {quality} {method} {count} experts"
