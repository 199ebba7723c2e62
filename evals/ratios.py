"""The arithmetic of normalised scores, on one figure or an array of resamples alike. Pure; reads no record.

Definitions: Yadav et al. 2024, arXiv 2410.03617. What is not defined is NaN, what is missing stays missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def above_chance(
    score: float | Floats, reference: float | Floats, chance: float | None, higher_is_better: bool
) -> Floats:
    """(score - chance) / (reference - chance): what of the reference's gain over guessing is there.

    NaN where there is no level of chance, where less is better, and where the reference is not above chance:
    its gain is then nothing to divide by.
    """
    over, under = np.asarray(score, np.float64), np.asarray(reference, np.float64)
    if chance is None or not higher_is_better:
        return np.full(np.broadcast_shapes(over.shape, under.shape), np.nan)
    return _divide(over - chance, np.where(under > chance, under - chance, 0.0))


def is_mean_of(value: float, items: Sequence[float]) -> bool:
    """Whether a score is the mean over its items: then resampling items resamples the score."""
    return bool(items) and math.isclose(fmean(items), value)


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
