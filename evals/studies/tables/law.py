"""The scaling law S(N, k) = S_inf(N) + A(N) / (k + b): fitted to scores, tested, carried on. Draws nothing.

Source of the form: arXiv 2509.24244, for losses. Legend: R + 1 resamples, B offsets, K numbers of experts.
Every resample of the scores is fitted on its own, so each figure of a fit comes with its interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize

from evals.ratios import Floats
from evals.studies.tables.averages import ROLES, Average
from evals.studies.tables.sheet import estimate
from evals.studies.tables.values import MOST_OFFSET, Fit, Point, Role

#: Offsets b that are tried: none, and from 0.01 to 100 in steps of 2.3%: finer than any study can tell.
OFFSETS = np.concatenate(([0.0], np.geomspace(0.01, MOST_OFFSET, 401)))
#: Numbers of experts a fit needs at each size: as many as its line has figures, the shared offset among them.
NEEDED = 3


@dataclass(frozen=True)
class _Curve:
    """A law with its resamples. offset: (R + 1,), shared.  limit, amplitude: size -> (R + 1,)."""

    offset: Floats
    limit: Mapping[str, Floats]
    amplitude: Mapping[str, Floats]

    def at(self, size: str, count: int) -> Floats:
        """The score that the law gives."""
        return self.limit[size] + self.amplitude[size] / (count + self.offset)


@dataclass(frozen=True)
class _Series:
    """The ratios of one size against the number of experts."""

    parameters: int
    figures: Mapping[int, Floats]


def fits(rows: Sequence[Average]) -> tuple[Fit, ...]:
    """A fit for each quality, method and role, in that order.

    rows: `averages(sheet)`; ratios (not raw scores) of merges are fitted by least squares, one offset b >= 0
    for all sizes. Sizes with fewer than three numbers of experts are left out and named. First the largest
    number is kept out, of sizes that have three others, and predicted: those points are `held`, and their
    interval is that of the prediction with the noise of what was observed in it. Then all are fitted;
    its points are every count from the smallest run to twice the largest, for every size and, with two sizes
    or more, for one four times the largest, by straight lines of S_inf and A in log N through all sizes.
    """
    groups: dict[tuple[str, str, Role], list[Average]] = {}
    for row in rows:
        if row.subject.kind == "merge":
            groups.setdefault((row.subject.quality, row.subject.method, row.role), []).append(row)
    order = sorted(groups, key=lambda key: (key[0], key[1], ROLES.index(key[2])))
    return tuple(_fit(*key, groups[key]) for key in order)


def _fit(quality: str, method: str, role: Role, rows: Sequence[Average]) -> Fit:
    series, holes = _series(rows)
    if not series:
        why = f"fewer than {NEEDED} numbers of experts with whole scores at any size"
        return Fit(quality, method, role, {}, {}, None, None, (), why, holes)
    curve = _solve(series)
    gaps = [
        float(figure[0] - curve.at(size, count)[0])
        for size, one in series.items()
        for count, figure in one.figures.items()
    ]
    return Fit(
        quality,
        method,
        role,
        {size: estimate(drawn) for size, drawn in curve.limit.items()},
        {size: estimate(drawn) for size, drawn in curve.amplitude.items()},
        estimate(curve.offset),
        math.sqrt(math.fsum(gap**2 for gap in gaps) / len(gaps)),
        (*_fitted(series, curve), *_held(series), *_larger(series, curve)),
        "",
        holes,
    )


def _series(rows: Sequence[Average]) -> tuple[dict[str, _Series], tuple[str, ...]]:
    """(size -> its series, smallest first; what is not in the fit and why)."""
    found: dict[str, _Series] = {}
    holes = []
    for row in rows:  # by size and count: the order of `averages`
        one = row.subject
        figures = found[one.size].figures if one.size in found else {}
        ratio = row.over("ratio")
        if ratio is None:
            lines = (*row.lines("holes"), *row.lines("undefined"))
            holes.append(f"{one.size}, {one.count}: " + (lines[0] if lines else "no ratio"))
        else:
            figures = {**figures, one.count: ratio.array}
        found[one.size] = _Series(one.parameters, figures)
    for size, series in found.items():
        if len(series.figures) < NEEDED:
            counts = ", ".join(map(str, series.figures)) or "none"
            holes.append(f"{size}, {counts}: fewer than {NEEDED} numbers of experts")
    kept = {size: series for size, series in found.items() if len(series.figures) >= NEEDED}
    return kept, tuple(holes)


def _solve(series: Mapping[str, _Series]) -> _Curve:
    """Least squares over all sizes: for a given b a straight line in 1 / (k + b), so only b is searched for.

    Resamples take the best of `OFFSETS`; what was measured is searched on from there.
    """
    lines = [
        (np.array(list(one.figures), dtype=np.float64), np.stack(np.broadcast_arrays(*one.figures.values())))
        for one in series.values()
    ]
    errors_BR = _errors(OFFSETS, lines)
    offsets = OFFSETS[errors_BR.argmin(axis=0)]
    offsets[np.isnan(errors_BR).any(axis=0)] = np.nan  # a resample that lacks a figure has no fit
    offsets[0] = _refined(int(errors_BR[:, 0].argmin()), [(counts, ys[:, :1]) for counts, ys in lines])
    limits, amplitudes = {}, {}
    for size, (counts, ys_KR) in zip(series, lines, strict=True):
        xs_KR = 1 / (counts[:, None] + offsets)
        centred = xs_KR - xs_KR.mean(axis=0)
        amplitudes[size] = (centred * ys_KR).sum(axis=0) / (centred**2).sum(axis=0)
        limits[size] = ys_KR.mean(axis=0) - amplitudes[size] * xs_KR.mean(axis=0)
    return _Curve(offsets, limits, amplitudes)


def _errors(offsets_B: Floats, lines: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Sum of squared residuals of the best lines in 1 / (k + offset): (offsets, resamples)."""
    total = np.zeros((len(offsets_B), 1))
    for counts, ys_KR in lines:
        xs_BK = 1 / (counts + offsets_B[:, None])
        centred_BK = xs_BK - xs_BK.mean(axis=1, keepdims=True)
        centred_BK /= np.sqrt((centred_BK**2).sum(axis=1, keepdims=True))
        rests_KR = ys_KR - ys_KR.mean(axis=0)
        # What is left beside the line's direction, not a difference of large sums of squares.
        away_BKK = np.eye(len(counts)) - centred_BK[:, :, None] * centred_BK[:, None, :]
        total = total + ((away_BKK @ rests_KR) ** 2).sum(axis=1)
    return total


def _refined(best: int, lines: Sequence[tuple[Floats, Floats]]) -> float:
    """The best offset between the neighbours of the best of `OFFSETS`."""
    low, high = OFFSETS[max(best - 1, 0)], OFFSETS[min(best + 1, len(OFFSETS) - 1)]

    def error(offset: float) -> float:
        return float(_errors(np.array([offset]), lines)[0, 0])

    found = optimize.minimize_scalar(error, bounds=(low, high), method="bounded", options={"xatol": 1e-9})
    return min((float(found.x), float(OFFSETS[best])), key=error)


def _fitted(series: Mapping[str, _Series], curve: _Curve) -> list[Point]:
    """The curve at every count from the smallest run to twice the largest."""
    found = []
    for size, one in series.items():
        for count in range(min(one.figures), 2 * max(one.figures) + 1):
            observed = float(one.figures[count][0]) if count in one.figures else None
            found.append(_point(size, one.parameters, count, curve.at(size, count), observed))
    return found


def _held(series: Mapping[str, _Series]) -> list[Point]:
    """The largest count, predicted from the others at every size that has three of them."""
    largest = max(count for one in series.values() for count in one.figures)
    rest = {}
    for size, one in series.items():
        others = {count: figure for count, figure in one.figures.items() if count != largest}
        if len(others) >= NEEDED:
            rest[size] = _Series(one.parameters, others)
    if not rest:
        return []
    curve = _solve(rest)
    found = []
    for size, one in series.items():
        if size in rest and largest in one.figures:
            figure, predicted = one.figures[largest], curve.at(size, largest)
            with_noise = predicted - (figure - figure[0])
            point = _point(size, one.parameters, largest, with_noise, float(figure[0]))
            low, high = point.low, point.high
            inside = None if low is None or high is None else bool(low <= figure[0] <= high)
            found.append(replace(point, held=True, inside=inside))
    return found


def _larger(series: Mapping[str, _Series], curve: _Curve) -> list[Point]:
    """The law for a size four times the largest, from straight lines through S_inf and A against log N."""
    places = np.log([float(one.parameters) for one in series.values()])
    if len(set(places.tolist())) < 2:
        return []
    largest = max(series, key=lambda size: series[size].parameters)
    parameters = 4 * series[largest].parameters
    centred = places - places.mean()
    weights = 1 / len(places) + (math.log(parameters) - places.mean()) * centred / (centred @ centred)
    limit = weights @ np.stack(list(curve.limit.values()))
    amplitude = weights @ np.stack(list(curve.amplitude.values()))
    name = f"4 x {largest}"
    ahead = _Curve(curve.offset, {name: limit}, {name: amplitude})
    counts = [count for one in series.values() for count in one.figures]
    return [
        _point(name, parameters, count, ahead.at(name, count), None)
        for count in range(min(counts), 2 * max(counts) + 1)
    ]


def _point(size: str, parameters: int, count: int, drawn: Floats, observed: float | None) -> Point:
    figure = estimate(drawn)
    return Point(size, float(parameters), count, observed, figure.value, figure.low, figure.high, False)
