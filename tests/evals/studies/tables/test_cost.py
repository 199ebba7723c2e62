"""Costs of a study: sums and peaks by kind and size."""

from __future__ import annotations

import pytest

from evals.studies.tables.cost import costs
from evals.studies.tables.values import Cost
from pipeline.errors import InputError


def row(kind: str, size: str, seconds: float, read: int, peak: int) -> dict[str, object]:
    """One finished unit."""
    return {"kind": kind, "size": size, "seconds": seconds, "read_bytes": read, "peak_bytes": peak}


def test_costs_add_up_and_peaks_do_not() -> None:
    """Units, seconds and bytes are summed for each kind and size; of peaks the largest stands."""
    rows = [row("merge", "4m", 0.1, 5, 70), row("score", "4m", 2.0, 1, 9), row("merge", "4m", 0.2, 7, 60)]
    rows += [row("merge", "1m", 0.3, 2, 8)]
    assert costs(rows) == (
        Cost("merge", "1m", 1, 0.3, 2, 8),
        Cost("merge", "4m", 2, 0.1 + 0.2, 12, 70),
        Cost("score", "4m", 1, 2.0, 1, 9),
    )
    assert costs(rows[::-1]) == costs(rows) and costs([]) == ()


def test_a_row_without_a_field_is_refused() -> None:
    """A row that lacks a field is bad input that names the field."""
    with pytest.raises(InputError) as caught:
        costs([{"kind": "merge", "size": "1m", "seconds": 1.0, "read_bytes": 0}])
    assert caught.value.found == "no peak_bytes"
