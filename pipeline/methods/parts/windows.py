"""Where to count for a threshold: next to the place that a sample gives, then on the side that was missed.

Patterns are those of magnitudes (`kernels.contract.Window`): B bins of 2^shift of them each.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.contract import DIGIT_BITS, Window

_STANDARD_ERRORS = 4.0
#: Entries near one another are alike, so that runs of them err more than as many drawn singly would, by up
#: to so much on fine-tuned models. Samples from this size on get windows that allow for it; smaller ones are
#: of tensors at hand, where a miss costs less than a wide window does.
_ALIKE, _LARGE_SAMPLE = 15.0, 1 << 20
#: Bins of a window: as many patterns as eight of the sample's bins hold in fp32.
_MOST_COARSE = 8
MOST_BINS = _MOST_COARSE << DIGIT_BITS


def near(counts_B: NDArray[np.int64], wanted: int, numel: int, shift: int) -> Window:
    """Where the wanted-th largest of `numel` patterns should lie, from a sample's counts of 2^shift patterns
    each.
    """
    size = int(counts_B.sum())
    share = wanted / numel
    error = _STANDARD_ERRORS * math.sqrt(size * share * (1 - share)) + 2 if size < numel else 0.0
    lowest, highest = _between(counts_B, share, error)
    if size >= _LARGE_SAMPLE:
        least, most = _between(counts_B, share, error * _ALIKE)
        room = max(0, _MOST_COARSE - (highest - lowest + 1))
        below = min(lowest - least, max(room // 2, room - (most - highest)))
        lowest, highest = lowest - below, highest + min(most - highest, room - below)
    bins = highest - lowest + 1
    finer = min(shift, int(math.log2(MOST_BINS // bins))) if bins < MOST_BINS else 0
    return Window(lowest << shift, shift - finer, bins << finer)


def beside(window: Window, *, above: bool, bits: int) -> list[Window]:
    """The patterns next to a window that missed, as many as are counted at a time; below it the zeros too."""
    width = MOST_BINS << window.shift
    if above:
        low = window.low + (window.bins << window.shift)
        return [Window(low, window.shift, min(width, (1 << bits) - low) >> window.shift)]
    low = max(0, window.low - width)
    next_ = Window(low, window.shift, (window.low - low) >> window.shift)
    return [next_, Window(0, 0, 1)] if low else [next_]


def _between(counts_B: NDArray[np.int64], share: float, error: float) -> tuple[int, int]:
    """The lowest and the highest bin in which a sample's entry of that rank lies, give or take so many."""
    size = int(counts_B.sum())
    ranks = np.clip([share * size + error, share * size - error], 1, size)
    lowest, highest = np.searchsorted(counts_B[::-1].cumsum(), np.ceil(ranks))
    return len(counts_B) - 1 - int(lowest), len(counts_B) - 1 - int(highest)
