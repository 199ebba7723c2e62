"""A figure with the noise of its items, of its seeds and of its experts' runs, each counted once.

Legend: R + 1 values, [0] as measured, then resamples of items. Nothing here knows a claim or a table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from evals.ratios import Floats, centre
from evals.studies.tables.sheet import generator

#: (run of the experts, seed that picked them): what tells measurements of one cell apart.
Draw = tuple[int, int]
#: Half the width of a 95% interval in standard errors that are known.
NORMAL = NormalDist().inv_cdf(0.975)


class Part(NamedTuple):
    """A part of a figure's variance, the degrees of freedom that tell of it, and what is known of it already.

    least: what the noise of items makes of it; the part never counts for less.
    """

    variance: float
    freedom: float = math.inf
    least: float = 0.0

    @property
    def counted(self) -> float:
        """The variance, at least what is known."""
        return max(self.variance, self.least)


@dataclass(frozen=True)
class Noisy:
    """A figure and where its noise comes from.

    items: (R + 1,) the mean over runs and seeds.  seeds: seed -> how far its figure is from that mean, with
    resamples.  runs: base -> run -> the same of runs; runs of two bases have nothing in common, seeds pick
    the same experts everywhere.  draw_seed: of the random numbers in `array`.
    """

    items: Floats
    seeds: Mapping[int, Floats] = field(default_factory=dict)
    runs: Mapping[str, Mapping[int, Floats]] = field(default_factory=dict)
    draw_seed: int = 0

    @property
    def value(self) -> float:
        """The figure without its bias."""
        return centre(self.items)

    @property
    def groups(self) -> dict[str, Mapping[int, Floats]]:
        """Every source of noise beside the items: name -> the deviations of its levels."""
        return {"": self.seeds, **self.runs}

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The variance of the items, the seeds and each base's runs.

        What items make of the differences between seeds is in those already: it is taken out of the items'
        part, so that it counts once and reaches as far as the seeds' does. (Taken out of the seeds' part, an
        interval of three seeds would hold the truth in 91% of cases and one of two in 86%, where draws and
        items weigh alike.)
        """
        left = _spread(self.items)
        found = []
        for levels in self.groups.values():
            between, by_items = _between(levels)
            least = min(by_items, left)
            left -= least
            found.append(Part(max(between - by_items + least, 0.0), max(len(levels) - 1.0, 1.0), least))
        return (Part(left), *found)

    @cached_property
    def variance(self) -> float:
        """Of the figure: items, and what seeds and runs add to them."""
        return math.fsum(part.counted for part in self.parts)

    @cached_property
    def array(self) -> Floats:
        """What was measured, then resamples that spread as far as `reach` says: (R + 1,)."""
        return self.resampled(wide=True)

    def resampled(self, *, wide: bool) -> Floats:
        """What was measured, then resamples of items, seeds and runs together: (R + 1,).

        Deviations of seeds are multiplied by normal numbers, the same for all figures (Wu 1986), scaled to
        what seeds add to the items. wide: and widened as `reach` is, as few seeds tell little of that.
        """
        count = max(self.items.size - 1, 0)
        if not count:
            return self.items
        drawn = self.items.copy()
        for (name, levels), part in zip(self.groups.items(), self.parts[1:], strict=True):
            added = part.variance * (wider(part.freedom) ** 2 if wide else 1.0) - part.least
            if added > 0:
                sizes = np.array([centre(one) for one in levels.values()])
                scale = math.sqrt(added * len(levels) * part.freedom / float((sizes**2).sum()))
                drawn[1:] += scale * (sizes @ _weights(self.draw_seed, name, tuple(levels), count))
        return drawn


def reach(parts: Iterable[Part], level: float = 0.95) -> float:
    """Half the width of an interval: each part's own reach, added as squares.

    A variance that few seeds tell of is badly known; its part reaches as far as its t quantile does, and no
    less than the noise of items in it.
    """
    tail = (1 + level) / 2
    known = float(stdtrit(math.inf, tail)) ** 2
    return math.sqrt(
        math.fsum(
            max(part.variance * float(stdtrit(part.freedom, tail)) ** 2, part.least * known) for part in parts
        )
    )


def wider(freedom: float) -> float:
    """Return how much farther an interval reaches for a variance of these degrees of freedom."""
    return float(stdtrit(freedom, 0.975)) / NORMAL


def over_draws(base: str, figures: Mapping[Draw, Floats], draw_seed: int = 0) -> Noisy:
    """The mean over runs of the mean over seeds, with what each adds to the noise.

    base: whose runs they are.
    """
    seeds, runs = sorted({seed for _, seed in figures}), sorted({run for run, _ in figures})
    by_run = {run: _mean([one for (its, _), one in figures.items() if its == run]) for run in runs}
    by_seed = {seed: _mean([one for (_, its), one in figures.items() if its == seed]) for seed in seeds}
    return Noisy(
        _mean(list(by_run.values())),
        _deviations(by_seed),
        {base: _deviations(by_run)} if len(runs) > 1 else {},
        draw_seed,
    )


def total(terms: Iterable[tuple[float, Noisy]], plus: float = 0.0) -> Noisy:
    """The sum of weight times figure, `plus` a constant. A figure that lacks a seed does not vary with it."""
    items = np.full(1, plus)
    seeds: dict[int, Floats] = {}
    runs: dict[str, dict[int, Floats]] = {}
    draw_seed = 0
    for weight, one in terms:
        items = items + weight * one.items
        draw_seed = one.draw_seed
        for seed, drawn in one.seeds.items():
            seeds[seed] = seeds.get(seed, np.zeros(1)) + weight * drawn
        for base, levels in one.runs.items():
            mine = runs.setdefault(base, {})
            for run, drawn in levels.items():
                mine[run] = mine.get(run, np.zeros(1)) + weight * drawn
    return Noisy(items, dict(sorted(seeds.items())), dict(sorted(runs.items())), draw_seed)


def average(figures: Iterable[Noisy]) -> Noisy:
    """The plain mean."""
    ones = list(figures)
    return total((1 / len(ones), one) for one in ones)


def _mean(figures: list[Floats]) -> Floats:
    """The mean of arrays; of measured figures all alike exactly theirs."""
    drawn = sum((one / len(figures) for one in figures), np.zeros(1))
    drawn[0] = math.fsum(float(one[0]) for one in figures) / len(figures)
    return drawn


def _deviations(levels: Mapping[int, Floats]) -> dict[int, Floats]:
    """Level -> its distance from the mean of all; nothing of one level."""
    if len(levels) < 2:
        return {}
    middle = _mean(list(levels.values()))
    return {level: drawn - middle for level, drawn in levels.items()}


def _spread(drawn: Floats) -> float:
    return float(drawn[1:].var()) if drawn.size > 1 else 0.0


def _between(levels: Mapping[int, Floats]) -> tuple[float, float]:
    """The variance of the mean of levels by how they differ; what the noise of items makes of it."""
    count = len(levels)
    if count < 2:
        return 0.0, 0.0
    free = count * (count - 1)
    between = math.fsum(centre(one) ** 2 for one in levels.values()) / free
    return between, math.fsum(_spread(one) for one in levels.values()) / free


@lru_cache(maxsize=256)
def _weights(draw_seed: int, name: str, levels: tuple[int, ...], resamples: int) -> Floats:
    """What each level weighs in each resample, the same for all figures: (levels, R)."""
    draw = generator(draw_seed, "seeds", name, *levels)
    weights_SR: Floats = draw.standard_normal((len(levels), resamples))
    return weights_SR / math.sqrt(len(levels) * (len(levels) - 1))
