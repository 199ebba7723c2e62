"""Lists of a report that say what cannot be told."""

from __future__ import annotations

from dataclasses import replace

from evals.studies.report.lists import law_fits
from evals.studies.report.study import Study
from evals.studies.report.words import HOLE
from evals.studies.tables.values import MOST_OFFSET, Estimate, Fit
from tests.helpers import studies


def test_a_line_has_no_limit() -> None:
    """A fit whose offset is at its largest shows no limit and no amplitude; any other shows both."""
    one = Estimate(0.5, 0.4, 0.6, None)
    fit = Fit("weak", "ties", "held-in", {"1M": one}, {"1M": one}, Estimate(1.0, 0.0, 2.0, None), 0.01, ())
    line = replace(fit, method="averaging", offset=Estimate(MOST_OFFSET, 0.0, MOST_OFFSET, None))
    tables = replace(
        studies.tables(sizes=("1m",), counts=(2, 8), seeds=(0,), methods=("ties",)), fits=(fit, line)
    )
    curved, straight = law_fits(Study(tables)).rows
    assert straight[4:6] == (HOLE, HOLE) and "straight line" in straight[6]
    assert HOLE not in curved and curved[6].startswith("1.000")


def test_an_offset_of_more_than_a_decade_is_not_told() -> None:
    """b whose interval spans more than a decade is no figure; offsets below 0.1 are as good as none."""
    one = Estimate(0.5, None, 0.4, 0.6)
    told = Fit("weak", "ties", "held-in", {"1M": one}, {"1M": one}, Estimate(1.0, None, 0.0, 0.9), 0.01, ())
    wide = replace(told, method="averaging", offset=Estimate(1.0, None, 0.2, 4.0))
    assert told.is_offset_told and not wide.is_offset_told
    assert replace(told, offset=Estimate(1.0, None, None, None)).is_offset_told
    tables = replace(
        studies.tables(sizes=("1m",), counts=(2, 8), seeds=(0,), methods=("ties",)), fits=(told, wide)
    )
    first, second = law_fits(Study(tables)).rows
    assert first[6].startswith("1.000") and second[6] == "cannot be told [0.200, 4.000]"
