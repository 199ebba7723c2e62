"""Standard errors of scores, from the scores of single items. Pure; no global random state is touched."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

#: Resamples of a bootstrap: its own relative error is about 1/sqrt(2 * 400) = 3.5%.
DRAWS = 400


def mean_stderr(items: Sequence[float]) -> float | None:
    """Standard error of the mean, from the sample standard deviation (n - 1); None for fewer than two items.

    For items that are 0 or 1 this is the binomial sqrt(p (1 - p) / (n - 1)).
    """
    if len(items) < 2:
        return None
    centre = math.fsum(items) / len(items)
    return math.sqrt(math.fsum((item - centre) ** 2 for item in items) / (len(items) - 1) / len(items))


def bootstrap_stderr(
    items: Sequence[Any], score: Callable[[list[Any]], float], draws: int = DRAWS
) -> float | None:
    """Standard error of `score(items)` by resampling items (Efron 1979), always with the same draws.

    None for fewer than two items, or when a resample has no finite score (one class only, say).
    """
    if len(items) < 2:
        return None
    generator = np.random.default_rng(len(items))
    picks = generator.integers(0, len(items), size=(draws, len(items)))
    scores = np.array([score([items[index] for index in pick]) for pick in picks], dtype=np.float64)
    return float(scores.std(ddof=1)) if bool(np.isfinite(scores).all()) else None
