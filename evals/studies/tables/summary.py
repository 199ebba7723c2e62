"""The rows of a study's tables: averages with their spread over seeds and intervals. Averages nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import stdev

from evals.ratios import Floats
from evals.studies.tables.averages import Average, averages
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
    return Summary(
        row.subject,
        row.role,
        _estimate(row.all.raw, {seed: one.raw for seed, one in row.seeds.items()}),
        _estimate(row.all.ratio, {seed: one.ratio for seed, one in row.seeds.items()}),
        _estimate(row.all.corrected, {seed: one.corrected for seed, one in row.seeds.items()}),
        {category: _measured(drawn) for category, drawn in row.all.by_category.items()},
        {seed: _measured(one.ratio) for seed, one in row.seeds.items()},
        row.all.records,
        row.all.holes,
        row.all.undefined,
    )


def _estimate(drawn: Floats | None, by_seed: Mapping[int, Floats | None]) -> Estimate | None:
    if drawn is None:
        return None
    measured = [float(one[0]) for one in by_seed.values() if one is not None]
    return estimate(drawn, stdev(measured) if len(measured) > 1 else None)


def _measured(drawn: Floats | None) -> float | None:
    return None if drawn is None else float(drawn[0])
