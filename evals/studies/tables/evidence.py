"""What a claim is judged by: a mean over units or a trend over sizes, with two errors. Knows no claim.

One error is that of these models: items, and the draws of experts and runs. The other takes the units (sizes
or bases of models) as a sample of models like them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import optimize

from evals.ratios import Floats
from evals.studies.tables.noise import Noisy, Part, average, reach, total
from evals.studies.tables.values import Estimate

#: A p below this is as good as none.
LEAST_P = 1e-9
#: A standard error of figures of order one that is no more than this is rounding.
ROUNDING = 1e-12
#: The figures behind a finding: what -> its estimate.
Rows = Mapping[str, Estimate | None]


@dataclass(frozen=True)
class Point:
    """A figure of the models of one base. parameters: how many they have."""

    size: str
    quality: str
    parameters: int
    figure: Noisy


@dataclass(frozen=True)
class Evidence:
    """An effect, and the units that it is a weighted sum of.

    parts: (weight, unit) pairs.  rests: how far each unit is from what the effect says of it.  freedom: of
    the rests, in degrees.  lacking: why there is no effect, or what a test over units lacks.
    left_out: what lacks a score, by name.
    """

    effect: Noisy | None
    parts: tuple[tuple[float, Noisy], ...] = ()
    rests: tuple[float, ...] = ()
    freedom: int = 0
    lacking: str = ""
    left_out: tuple[str, ...] = ()
    rows: Rows = field(default_factory=dict)


@dataclass(frozen=True)
class Tested:
    """An effect with the parts of its variance, as `noise.reach` takes them."""

    value: float
    parts: tuple[Part, ...]

    @property
    def error(self) -> float | None:
        """Standard error, None where nothing tells of one."""
        variance = math.fsum(part.counted for part in self.parts)
        return math.sqrt(variance) if math.isfinite(variance) and variance > ROUNDING**2 else None

    @property
    def p(self) -> float | None:
        """Two-sided p of no effect: that at which the interval just reaches zero."""
        if self.error is None:
            return None
        if self.value == 0:
            return 1.0
        away = abs(self.value)
        if reach(self.parts, 1 - LEAST_P) <= away:
            return LEAST_P
        found = optimize.brentq(lambda p: reach(self.parts, 1 - math.exp(p)) - away, math.log(LEAST_P), 0.0)
        return float(math.exp(found))

    @property
    def estimate(self) -> Estimate:
        """The effect with its 95% interval."""
        if self.error is None:
            return Estimate(self.value, None, None, None)
        far = reach(self.parts)
        return Estimate(self.value, None, self.value - far, self.value + far)


def for_these(figure: Noisy) -> Tested:
    """A figure for the models that were scored: the error of items, seeds and runs."""
    return Tested(figure.value, figure.parts)


def for_like(evidence: Evidence) -> Tested | None:
    """The effect for models like these: the units are a sample (Student 1908); None without an effect.

    What the units share, as their items and draws are the same, does not show in how they differ. It is what
    the error for these models holds beyond that of its units each by itself, and is added (crossed random
    effects: Owen 2007). Nor are models like these known better than these.
    """
    if evidence.effect is None:
        return None
    value = evidence.effect.value
    if evidence.freedom < 1:
        return Tested(value, ())
    rests = math.fsum(rest**2 for rest in evidence.rests) / evidence.freedom
    squares = math.fsum(weight**2 for weight, _ in evidence.parts)
    own = rests * squares
    apart = math.fsum(weight**2 * unit.variance for weight, unit in evidence.parts)
    shared = max(evidence.effect.variance - apart, 0.0)
    if math.fsum(weight for weight, _ in evidence.parts) > 0.5:  # a mean: all of what is shared moves it
        shared /= 1 - squares
    shared = max(shared, evidence.effect.variance - own)
    return Tested(value, (Part(own, float(evidence.freedom)), Part(shared)))


def mean_over(units: Mapping[str, Noisy], kind: str) -> Evidence:
    """The plain mean over units. kind: what they are, in the plural."""
    if not units:
        return Evidence(None)
    middle = average(units.values())
    return Evidence(
        middle,
        tuple((1 / len(units), unit) for unit in units.values()),
        tuple(unit.value - middle.value for unit in units.values()),
        len(units) - 1,
        f"one of {kind} alone tells nothing of others: it needs two or more",
    )


def _places(points: Sequence[Point]) -> Floats:
    """log10 of parameters, less the mean of the quality's."""
    places = np.array([math.log10(point.parameters) for point in points])
    for quality in {point.quality for point in points}:
        own = np.array([point.quality == quality for point in points])
        places[own] -= places[own].mean()
    return places


def trend_over(points: Sequence[Point]) -> Evidence:
    """The slope against log10 of parameters by least squares, each quality of base with a level of its own.

    Qualities of one size take no part.
    """
    sizes = {
        quality: {p.parameters for p in points if p.quality == quality}
        for _, quality, *_ in map(_key, points)
    }
    points = [point for point in points if len(sizes[point.quality]) > 1]
    if not points:
        return Evidence(None, lacking="fewer than two sizes to compare")
    places = _places(points)
    weights = places / (places @ places)
    values = _centred(points)
    slope = float(weights @ values)
    number = len({point.quality for point in points})
    return Evidence(
        total(zip(weights.tolist(), (point.figure for point in points), strict=True)),
        tuple(zip(weights.tolist(), (point.figure for point in points), strict=True)),
        tuple((values - slope * places).tolist()),
        len(points) - number - 1,
        "two sizes make a line whatever they are: it needs three of one quality of base, or two of two",
        rows=_rows(points),
    )


def contrast_over(weak: Sequence[Point], strong: Sequence[Point]) -> Evidence:
    """The mean of strong minus weak at the same sizes, in that order of both.

    How far bases are from others like them is what is left beside a level a quality and a slope of both
    against log10 of parameters: that knows more than the differences alone, which are one a size.
    """
    points = [*weak, *strong]
    if not points:
        return Evidence(None)
    weights = [sign / len(weak) for sign in (-1, 1) for _ in weak]
    parts = tuple(zip(weights, (point.figure for point in points), strict=True))
    places, values = _places(points), _centred(points)
    slope = float(places @ values / (places @ places)) if places.any() else 0.0
    rests = tuple((values - slope * places).tolist())
    return Evidence(
        total(parts), parts, rests, len(points) - 3, "bases of one size are no sample: it needs two"
    )


def _centred(points: Sequence[Point]) -> Floats:
    """Figures less the mean of their quality's."""
    values = np.array([point.figure.value for point in points])
    for quality in {point.quality for point in points}:
        own = np.array([point.quality == quality for point in points])
        values[own] -= values[own].mean()
    return values


def _key(point: Point) -> tuple[str, str]:
    return point.size, point.quality


def _rows(points: Sequence[Point]) -> dict[str, Estimate | None]:
    """Each quality's own slope, then its sizes, smallest first."""
    found: dict[str, Estimate | None] = {}
    for quality in dict.fromkeys(point.quality for point in points):
        own = sorted((p for p in points if p.quality == quality), key=lambda p: (p.parameters, p.size))
        places = _places(own)
        weights = (places / (places @ places)).tolist()
        slope = total(zip(weights, (point.figure for point in own), strict=True))
        found[f"{quality}: slope"] = for_these(slope).estimate
        found |= {f"{quality}, {point.size}": for_these(point.figure).estimate for point in own}
    return found


def retention_over(few: Sequence[Point], many: Sequence[Point]) -> Evidence:
    """The slope against log10 of parameters of what is kept from few experts to many, for one quality.

    few, many: the same bases. kept_b = level + slope * place_b solves sum(z_b (many_b - kept_b few_b)) = 0
    for z = 1 and z = place: no base's own ratio is formed, which noise in the lower figure would bend, and a
    base with little to keep weighs little.
    """
    if len({point.parameters for point in few}) < 2:
        return Evidence(None, lacking="fewer than two sizes to compare")
    kept = for_these(average(point.figure for point in few))
    if kept.value <= 0 or (kept.error is not None and kept.value < 2 * kept.error):
        return Evidence(None, lacking="merges of the fewest experts keep nothing that can be told from zero")
    places = _places(few)
    lower = np.array([point.figure.value for point in few])
    upper = np.array([point.figure.value for point in many])
    basis = np.stack([np.ones_like(places), places])
    matrix = (basis * lower) @ basis.T
    if not np.isfinite(np.linalg.cond(matrix)) or np.linalg.det(matrix) <= 0:
        return Evidence(None, lacking="too little is kept of the fewest experts to compare sizes")
    level, slope = np.linalg.solve(matrix, basis @ upper)
    weights = np.linalg.solve(matrix, basis)[1].tolist()
    shares = (level + slope * places).tolist()
    units = [
        total([(1.0, more.figure), (-share, less.figure)])
        for share, less, more in zip(shares, few, many, strict=True)
    ]
    rests = (upper - np.array(shares) * lower).tolist()
    return Evidence(
        total(zip(weights, units, strict=True), plus=float(slope)),
        tuple(zip(weights, units, strict=True)),
        tuple(rests),
        len(few) - 2,
        "two sizes make a line whatever they are: it needs three or more",
        rows={
            f"{less.quality}, {less.size}": _kept(less.figure, more.figure)
            for less, more in zip(few, many, strict=True)
        },
    )


def _kept(few: Noisy, many: Noisy) -> Estimate | None:
    """many / few with the interval of its linear part; None where there is nothing to keep."""
    if few.value <= 0:
        return None
    share = many.value / few.value
    rest = total([(1 / few.value, many), (-share / few.value, few)], plus=share)
    return replace(for_these(rest).estimate, value=share)
