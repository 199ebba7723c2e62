"""What a claim is judged by: a mean over units, its interval, permutation tests, trends. Knows no claim."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evals.ratios import Floats
from evals.studies.tables.sheet import estimate, generator
from evals.studies.tables.values import Estimate, Verdict

#: Permutations at most: beyond, so many are drawn. Resamples of units, where scores tell of no noise.
PERMUTATIONS, UNIT_DRAWS = 9999, 2000


@dataclass(frozen=True)
class Unit:
    """One piece of evidence: a figure with its resamples, and what it weighs in the mean."""

    name: str
    drawn: Floats
    weight: float = 1.0


@dataclass(frozen=True)
class Line:
    """Figures against size, of models that differ in nothing else: size -> (parameters, figure)."""

    name: str
    group: str
    points: Mapping[str, tuple[int, Floats]]


def effect(units: Sequence[Unit]) -> Estimate | None:
    """Weighted mean over units, with the interval of the resamples of items and seeds; None without units.

    Where no unit has resamples (scores without items and standard errors, of one seed) the interval is that
    of resampling the units; of one unit alone there is none.
    """
    if not units:
        return None
    weight = math.fsum(unit.weight for unit in units)
    drawn = np.zeros(1)
    for unit in units:
        drawn = drawn + unit.weight / weight * unit.drawn
    if drawn.size > 1 or len(units) == 1:
        return estimate(drawn)
    draw = generator("units", *sorted(unit.name for unit in units))
    ordered = sorted(units, key=lambda unit: unit.name)
    picked_RU = draw.multinomial(len(units), np.full(len(units), 1 / len(units)), size=UNIT_DRAWS)
    weights_RU = picked_RU * np.array([unit.weight for unit in ordered])
    values_U = np.array([unit.drawn[0] for unit in ordered])
    return estimate(np.append(drawn, weights_RU @ values_U / weights_RU.sum(axis=1)))


def from_scores(units: Sequence[Unit]) -> bool:
    """Whether the interval of `effect` comes from items and seeds, not from the units alone."""
    return any(unit.drawn.size > 1 for unit in units)


def judge(figure: Estimate | None, null: float, sign: int) -> tuple[Verdict, str]:
    """Supported when the 95% interval lies on the claim's side of `null`, not supported when on the other.

    sign: +1 where the claim says more, -1 where less. Anything else cannot tell.
    """
    if figure is None:
        return "cannot tell", "nothing to compute it from"
    if figure.low is None or figure.high is None:
        return "cannot tell", "there is no interval: one figure without noise of its own"
    if figure.low <= null <= figure.high:
        return "cannot tell", f"the interval includes {null:g}"
    above = figure.low > null
    side = f"the whole interval is {'above' if above else 'below'} {null:g}"
    return ("supported" if above == (sign > 0) else "not supported"), side


def sign_flip(values: Sequence[float]) -> float | None:
    """Two-sided p that the mean is zero: signs of paired differences flipped (Fisher 1935).

    Exact up to 13 differences, else from 9999 random flips; None for fewer than two.
    """
    if len(values) < 2:
        return None
    result = stats.permutation_test(
        (np.asarray(values), np.zeros(len(values))),
        lambda ours, theirs, axis: np.abs((ours - theirs).mean(axis=axis)),
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        alternative="greater",
        rng=generator("flips", len(values)),
    )
    return float(result.pvalue)


def steps(line: Line) -> list[Unit]:
    """A line's least-squares slope against log10(parameters), cut into steps between neighbouring sizes.

    The slope is the mean of the steps' slopes, weighed by what each adds to it; weights sum to one. Empty for
    fewer than two sizes, or where two have as many parameters.
    """
    points = sorted((math.log10(parameters), size) for size, (parameters, _) in line.points.items())
    places = np.array([place for place, _ in points])
    gaps = np.diff(places)
    if len(points) < 2 or (gaps <= 0).any():
        return []
    leverage = (places - places.mean()) / ((places - places.mean()) ** 2).sum()
    found = []
    for index, gap in enumerate(gaps):
        (_, small), (_, large) = points[index : index + 2]
        slope = (line.points[large][1] - line.points[small][1]) / gap
        weight = float(gap * leverage[index + 1 :].sum())
        found.append(Unit(f"{line.name}: {small} to {large}", slope, weight))
    return found


def size_permutation(lines: Sequence[Line]) -> float | None:
    """Two-sided p that figures do not depend on size: the sizes' names permuted inside each group.

    Lines of a group (a quality of base) share the permutation, as they share their models. The statistic is
    the mean slope against log10(parameters). All permutations where they are 9999 or fewer, else so many
    random ones; None without a line of two sizes.
    """
    lines = [line for line in lines if steps(line)]
    if not lines:
        return None
    groups: dict[str, dict[str, float]] = {}
    for line in lines:
        for size, (parameters, _) in line.points.items():
            groups.setdefault(line.group, {})[size] = math.log10(parameters)
    orders = [list(places) for places in groups.values()]
    measured = abs(_mean_slope(lines, groups))
    number = math.prod(math.factorial(len(order)) for order in orders)
    if number <= PERMUTATIONS:
        drawn = itertools.product(*(itertools.permutations(order) for order in orders))
        hits = sum(_permuted(lines, groups, orders, one) >= measured * (1 - 1e-9) for one in drawn)
        return hits / number
    draw = generator("sizes", *orders)
    hits = 1
    for _ in range(PERMUTATIONS):
        one = [[order[index] for index in draw.permutation(len(order))] for order in orders]
        hits += _permuted(lines, groups, orders, one) >= measured * (1 - 1e-9)
    return hits / (PERMUTATIONS + 1)


def _permuted(
    lines: Sequence[Line],
    groups: Mapping[str, Mapping[str, float]],
    orders: Sequence[Sequence[str]],
    permutation: Sequence[Sequence[str]],
) -> float:
    """The absolute mean slope with each group's sizes renamed."""
    renamed = {
        group: {old: places[new] for old, new in zip(order, names, strict=True)}
        for (group, places), order, names in zip(groups.items(), orders, permutation, strict=True)
    }
    return abs(_mean_slope(lines, renamed))


def _mean_slope(lines: Sequence[Line], groups: Mapping[str, Mapping[str, float]]) -> float:
    slopes = []
    for line in lines:
        places = np.array([groups[line.group][size] for size in line.points])
        values = np.array([figure[0] for _, figure in line.points.values()])
        centred = places - places.mean()
        slopes.append(float(centred @ values / (centred @ centred)))
    return math.fsum(slopes) / len(slopes)
