"""The scaling law's fit: planted curves come back, points test it, curves go on, too little data is none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from evals.studies.tables.averages import averages
from evals.studies.tables.law import fits
from evals.studies.tables.sheet import make_sheet
from evals.studies.tables.values import Fit, Question, Score, Subject

CATEGORIES = tuple("abcdefgh")
SIZES = {"1m": 10**6, "10m": 10**7, "100m": 10**8}
COUNTS = (2, 4, 6, 8)
#: Straight lines in log10 N: S_inf = 0.5, 0.6, 0.7 and A = 0.6, 0.5, 0.4.
LIMIT = {size: 0.5 + 0.1 * index for index, size in enumerate(SIZES)}
AMPLITUDE = {size: 0.6 - 0.1 * index for index, size in enumerate(SIZES)}


def planted(
    offset: float,
    stderr: float | None = None,
    counts: Sequence[int] = COUNTS,
    sizes: Sequence[str] = tuple(SIZES),
    gone: Sequence[tuple[str, int]] = (),
) -> list[Score]:
    """Held-in scores on the law, against experts of score 1. gone: (size, count) whose scores are missing."""
    found = []
    for size in sizes:
        place = (size, size, "weak", SIZES[size])
        for category in CATEGORIES:
            question = Question("held-in", "in", category, category, "score", True, None)
            found.append(Score("e", Subject(*place, "expert", experts=(category,)), question, 1.0))
            for count in counts:
                if category not in CATEGORIES[:count]:
                    continue
                subject = Subject(*place, "merge", "ties", count, 0, CATEGORIES[:count])
                value = None if (size, count) in gone else LIMIT[size] + AMPLITUDE[size] / (count + offset)
                found.append(
                    Score("m", subject, question, value, stderr, why="lost" if value is None else "")
                )
    return found


def fit(scores: Sequence[Score], resamples: int = 0) -> Fit:
    """The one fit of these scores."""
    found = fits(averages(make_sheet(scores, resamples)))
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("offset", [0.0, 0.3, 2.0, 30.0])
def test_planted_parameters_come_back(offset: float) -> None:
    """Scores that lie on the law give its limit, amplitude and offset, and the rest of its curve."""
    found = fit(planted(offset))
    assert found.offset is not None and found.offset.value == pytest.approx(offset, rel=1e-3, abs=1e-4)
    assert {size: one.value for size, one in found.limit.items()} == pytest.approx(LIMIT, rel=1e-3)
    assert {size: one.value for size, one in found.amplitude.items()} == pytest.approx(AMPLITUDE, rel=1e-3)
    assert found.rmse == pytest.approx(0, abs=1e-6) and found.holes == () and found.why == ""
    for point in found.points:
        if point.size in SIZES:
            wanted = LIMIT[point.size] + AMPLITUDE[point.size] / (point.count + offset)
            assert point.predicted == pytest.approx(wanted, abs=1e-4)
            assert point.observed is None or point.observed == pytest.approx(wanted, abs=1e-12)


def test_the_curve_goes_to_twice_the_largest_count_and_four_times_the_size() -> None:
    """Every count from smallest to twice the largest, for each size and for one four times the largest."""
    found = fit(planted(1.0))
    ahead = [point for point in found.points if point.size == "4 x 100m"]
    assert [point.count for point in ahead] == list(range(2, 17))
    # log10(4) of a step further along lines that move by 0.1 a step.
    further = 0.1 * 0.6020599913
    for point in ahead:
        assert point.observed is None and point.parameters == 4 * 10**8
        wanted = LIMIT["100m"] + further + (AMPLITUDE["100m"] - further) / (point.count + 1)
        assert point.predicted == pytest.approx(wanted, abs=1e-4)
    curve = [point for point in found.points if point.size == "1m" and not point.held]
    assert [point.count for point in curve] == list(range(2, 17))
    assert [point.count for point in curve if point.observed is not None] == list(COUNTS)
    assert not [one for one in fit(planted(1.0, sizes=("1m",))).points if one.size not in SIZES]


def test_the_largest_count_tests_the_fit() -> None:
    """Held points are predicted from other counts alone: a score off the law shows, one on it does not."""
    scores = planted(1.0, stderr=0.01)
    held = [point for point in fit(scores, 400).points if point.held]
    assert [(point.size, point.count) for point in held] == [(size, 8) for size in SIZES]
    assert all(point.inside for point in held)
    rest = {point.size: point.predicted for point in held}
    moved = [
        one if (one.subject.size, one.subject.count) != ("1m", 8) else Score(**{**vars(one), "value": 0.9})
        for one in scores
    ]
    after = {point.size: point for point in fit(moved, 400).points if point.held}
    assert {size: point.predicted for size, point in after.items()} == pytest.approx(rest, abs=1e-12)
    assert [after[size].inside for size in SIZES] == [False, True, True]
    assert [point.inside for point in fit(planted(1.0)).points if point.held] == [None] * 3


def test_intervals_hold_what_was_planted() -> None:
    """With noise in the scores, the intervals of limits and amplitudes hold the planted values."""
    found = fit(planted(1.0, stderr=0.005), 400)
    for size in SIZES:
        for one, wanted in ((found.limit[size], LIMIT[size]), (found.amplitude[size], AMPLITUDE[size])):
            assert one.low is not None and one.high is not None
            assert one.low <= wanted <= one.high


def test_too_little_data_is_no_fit() -> None:
    """Fewer than three numbers of experts give no fit and the reason; three give one that nothing tests."""
    found = fit(planted(1.0, counts=(2, 8)))
    assert found.why and found.points == () and found.offset is None and found.rmse is None
    assert not any(point.held for point in fit(planted(1.0, counts=(2, 4, 8))).points)


def test_gaps_leave_their_size_out_or_thin_it() -> None:
    """A count without scores is named and not fitted; a size left with two counts is named and left out."""
    found = fit(planted(1.0, gone=[("1m", 4), ("10m", 4), ("10m", 6)]))
    assert list(found.limit) == ["1m", "100m"]
    assert {size: one.value for size, one in found.limit.items()} == pytest.approx(
        {"1m": 0.5, "100m": 0.7}, rel=1e-3
    )
    assert any(hole.startswith("1m, 4: ") and hole.endswith("lost") for hole in found.holes)
    assert any(hole.startswith("10m, 2, 8: fewer than 3") for hole in found.holes)
    # Only the size that has three others can be held to its largest count.
    assert [point.size for point in found.points if point.held] == ["100m"]
