"""The rows of a study's tables: averages with their spread over seeds and intervals. Averages nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import stdev

import numpy as np

from evals.ratios import Floats, mean
from evals.studies.tables.averages import Average, Measure, averages
from evals.studies.tables.noise import Noisy
from evals.studies.tables.sheet import estimate, make_sheet
from evals.studies.tables.values import Estimate, Score, Summary


def summarise(scores: Iterable[Score], resamples: int, seed: int = 0) -> tuple[Summary, ...]:
    """Every row of the study's tables, in both roles, smallest size first.

    Ratio (Yadav et al. 2024, arXiv 2410.03617): held-in the score over that of the category's expert of the
    same base, held-out over the base's; turned over where less is better. Averaged inside a category, over
    categories, over seeds. See `averages.averages` for the rows and `sheet` for the intervals.
    resamples: of the bootstrap over items and seeds, 0 for none.  seed: of its draws; the order of the scores
    changes nothing. InputError: as `sheet.make_sheet`.
    """
    return summaries(averages(make_sheet(scores, resamples, seed)))


def summaries(rows: Sequence[Average]) -> tuple[Summary, ...]:
    """Averages as values of a table."""
    return tuple(_summary(row) for row in rows)


def _summary(row: Average) -> Summary:
    runs, seeds = ({draw[index] for draw in row.draws} for index in (0, 1))
    ratios = {draw: one.ratio for draw, one in row.draws.items()}
    return Summary(
        row.subject,
        row.role,
        _estimate(row, "raw"),
        _estimate(row, "ratio"),
        _estimate(row, "corrected"),
        row.by_category,
        {seed: _measured([one for draw, one in ratios.items() if draw[1] == seed]) for seed in sorted(seeds)},
        row.lines("records"),
        row.lines("holes"),
        row.lines("undefined"),
        {run: _measured([one for draw, one in ratios.items() if draw[0] == run]) for run in sorted(runs)}
        if len(runs) > 1
        else {},
    )


def _estimate(row: Average, measure: Measure) -> Estimate | None:
    noisy = row.over(measure)
    if noisy is None:
        return None
    seeds = {draw[1] for draw in row.draws}
    by_seed = [
        _measured([one.of(measure) for draw, one in row.draws.items() if draw[1] == seed]) for seed in seeds
    ]
    measured = [one for one in by_seed if one is not None]
    drawn = _as_factors(noisy) if measure == "ratio" else noisy.array
    return estimate(drawn, stdev(measured) if len(measured) > 1 else None)


def _as_factors(ratio: Noisy) -> Floats:
    """Resamples of a ratio as factors of its centre, c exp(x/c - 1) for x: their logarithms are symmetric.

    A ratio that came out low has a noise that is taken for too small, one that came out high for too large:
    an interval that reaches as far up as down misses on one side only where items are few.
    """
    drawn, middle = ratio.array, ratio.value
    if drawn.size == 1 or not middle > 0:
        return drawn
    return np.append(drawn[:1], middle * np.exp(drawn[1:] / middle - 1))


def _measured(drawn: Sequence[Floats | None]) -> float | None:
    middle = mean(drawn)
    return None if middle is None else float(middle[0])
