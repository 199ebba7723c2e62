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
