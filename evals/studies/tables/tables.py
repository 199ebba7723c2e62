"""Everything a report shows of a study, computed at once from its scores and costs. Pure; reads no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evals.studies.tables.averages import averages
from evals.studies.tables.cost import costs
from evals.studies.tables.findings import findings
from evals.studies.tables.law import fits
from evals.studies.tables.sheet import make_sheet
from evals.studies.tables.summary import summaries
from evals.studies.tables.values import SMALLEST_EFFECT, Score, Tables


def make_tables(
    scores: Iterable[Score],
    cost_rows: Iterable[Mapping[str, Any]],
    *,
    qualities: Sequence[str],
    resamples: int,
    smallest_effect: float = SMALLEST_EFFECT,
    seed: int = 0,
) -> Tables:
    """The study's tables, the same to the last bit in whatever order scores and rows are given.

    qualities: of bases, from weak to strong.  cost_rows: as `cost.costs` takes them.  resamples: of the
    bootstrap, 0 for no intervals.  smallest_effect: of interest, see `judging.settle`.
    seed: of the draws. InputError: as `sheet.make_sheet` and `cost.costs`.
    """
    sheet = make_sheet(scores, resamples, seed)
    rows = averages(sheet)
    return Tables(
        sheet.questions,
        tuple(sheet.scores.values()),
        summaries(rows),
        findings(sheet, rows, qualities, smallest_effect),
        fits(rows),
        costs(cost_rows),
        smallest_effect,
    )
