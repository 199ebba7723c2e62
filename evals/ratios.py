"""The arithmetic of normalised scores, on one figure or an array of resamples alike. Pure; reads no record.

Definitions: Yadav et al. 2024, arXiv 2410.03617. What is not defined is NaN, what is missing stays missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Figure = TypeVar("Figure", float, Floats)


def ratio(score: float | Floats, reference: float | Floats, higher_is_better: bool) -> Floats:
    """score / reference; turned over where less is better, so that more than 1 is always better.

    Shapes broadcast; float64. NaN where it would divide by zero.
    """
    over, under = (score, reference) if higher_is_better else (reference, score)
    return _divide(np.asarray(over, np.float64), np.asarray(under, np.float64))


def share_of_gain(score: Floats, reference: Floats, chance: float) -> Floats | None:
    """(score - chance) / (reference - chance): what of the reference's gain over guessing is there.

    Each is one score, or the mean of several, averaged alike: the share is formed of means, so that a task
    whose reference is hardly above chance neither swamps nor empties it. Shapes as `quotient`. None where the
    reference is not above chance: its gain is then nothing to divide by.
    """
    return quotient(score - chance, reference - chance) if reference[0] > chance else None


def quotient(over: Floats, under: Floats) -> Floats:
    """over / under of two figures with resamples: [0] the plain quotient, the rest without its bias.

    A quotient of noisy means is too large on average (E[x/y] > E[x]/E[y]), and resampling adds the same bias
    once more. So resamples are those of the quotient's linear part about (quotient - bias), with the bias to
    second order: Q var(y)/y^2 - cov(x, y)/y^2 (Cochran 1977, section 6.8). Their mean is exactly that.
    NaN where it would divide by zero.
    """
    first, last = float(over[0]), float(under[0])
    resamples = max(over.size, under.size) - 1
    if last == 0:
        return np.full(resamples + 1, np.nan)
    plain = first / last
    if not resamples:
        return np.array([plain])
    over_R, under_R = (
        one[1:] - one[1:].mean() if one.size > 1 else np.zeros(resamples) for one in (over, under)
    )
    rest_R = (over_R - plain * under_R) / last
    bias = -float(rest_R @ under_R) / resamples / last
    drawn = np.empty(resamples + 1)
    drawn[0], drawn[1:] = plain, plain - bias + rest_R
    return drawn


def centre(drawn: Floats) -> float:
    """A figure without its bias: the mean of its resamples, what was measured where there are none."""
    return float(drawn[1:].mean()) if drawn.size > 1 else float(drawn[0])


def is_mean_of(value: float, items: Sequence[float]) -> bool:
    """Whether a score is the mean over its items: then resampling items resamples the score."""
    return bool(items) and math.isclose(fmean(items), value)


def mean_by_category(categories: Iterable[Sequence[Figure | None]]) -> Figure | None:
    """The mean inside each category, then over categories; None when any value is missing."""
    return mean([mean(values) for values in categories])


def mean(values: Sequence[Figure | None]) -> Figure | None:
    """The mean, or None when any value is missing or there are none. Arrays broadcast."""
    total: Figure | None = None
    for value in values:
        if value is None:
            return None
        total = value if total is None else total + value
    return None if total is None else total / len(values)


def _divide(over: Floats, under: Floats) -> Floats:
    """over / under, NaN where under is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(under != 0, over / under, np.nan)
