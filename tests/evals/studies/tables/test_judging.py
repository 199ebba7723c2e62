"""Verdicts: Holm's rule, the smallest effect of interest, tests over models against textbook ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from evals.studies.tables.evidence import (
    Evidence,
    Point,
    contrast_over,
    for_like,
    for_these,
    mean_over,
    retention_over,
    trend_over,
)
from evals.studies.tables.judging import holm, settle
from evals.studies.tables.noise import Noisy


def noisy(value: float, error: float, stream: int = 0) -> Noisy:
    """A figure of that value and standard error, to the last bit."""
    drawn = np.random.default_rng(stream).standard_normal(400)
    drawn = (drawn - drawn.mean()) / drawn.std()
    return Noisy(np.append(value, value + error * drawn))


def units(values: Sequence[float], error: float = 0.001) -> dict[str, Noisy]:
    """Units of these values with noise of their own."""
    return {str(index): noisy(value, error, index) for index, value in enumerate(values)}


def points(values: Sequence[float], quality: str = "weak", error: float = 0.001) -> list[Point]:
    """Figures at one, ten, a hundred ... times as many parameters."""
    stream = 0 if quality == "weak" else 50
    return [
        Point(str(index), quality, 10 ** (index + 1), noisy(value, error, stream + index))
        for index, value in enumerate(values)
    ]


def test_holm_is_the_textbooks() -> None:
    """p of 0.01, 0.04, 0.03, 0.005 become 0.03, 0.06, 0.06, 0.02 (Holm 1979); None takes no part."""
    assert holm([0.01, None, 0.04, 0.03, 0.005]) == [
        pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06), pytest.approx(0.02)
    ]  # fmt: skip
    assert holm([]) == [] and holm([None]) == [None] and holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("value", "error", "sign", "verdict"),
    [
        (0.1, 0.01, 1, "supported"),
        (-0.1, 0.01, 1, "the opposite is seen"),
        (-0.1, 0.01, -1, "supported"),
        (0.1, 0.01, -1, "the opposite is seen"),
        (0.001, 0.004, 1, "no larger difference"),
        (0.01, 0.002, 1, "no larger difference"),
        (0.01, 0.01, 1, "cannot tell"),
        (0.05, 0.04, 1, "cannot tell"),
    ],
)
def test_each_scope_goes_by_interval_and_smallest_effect(
    value: float, error: float, sign: int, verdict: str
) -> None:
    """Beyond no difference it is one way or the other; inside the smallest effect of interest it is none."""
    spread = error * np.array([-1.0, 1.0, 0.0, 0.0, -1.0, 1.0]) * np.sqrt(7.5)
    own = {str(index): noisy(value + one, 1e-6, index) for index, one in enumerate(spread)}
    evidence = mean_over(own, "sizes")
    assert evidence.effect is not None
    (settled,) = settle([evidence], [sign], ["sizes"], 0.02)
    assert settled.lines[1].verdict == verdict
    alone = Evidence(noisy(value, error))
    assert settle([alone], [sign], ["sizes"], 0.02)[0].lines[0].verdict == verdict


def test_many_findings_need_more_each() -> None:
    """An interval beyond no difference is no verdict where p by Holm's rule is above 5%, and says why."""
    weak = Evidence(noisy(0.1, 0.045))
    assert settle([weak], [1], ["sizes"], 0.02)[0].lines[0].verdict == "supported"
    line = settle([weak] * 7, [1] * 7, ["sizes"] * 7, 0.02)[0].lines[0]
    assert line.verdict == "cannot tell" and "among 7 findings" in line.why
    assert line.adjusted is not None and line.p is not None and line.adjusted == pytest.approx(7 * line.p)


def test_both_scopes_must_agree() -> None:
    """Supported for these models and not for models like these is no verdict; one unit says what it needs."""
    far = mean_over(units([0.5, 0.0, 0.1]), "sizes")
    (settled,) = settle([far], [1], ["sizes"], 0.02)
    assert [line.verdict for line in settled.lines] == ["supported", "cannot tell"]
    assert settled.verdict == "cannot tell"
    near = mean_over(units([0.5, 0.49, 0.51, 0.5]), "sizes")
    assert settle([near], [1], ["sizes"], 0.02)[0].verdict == "supported"
    (one,) = settle([mean_over(units([0.5]), "sizes")], [1], ["sizes"], 0.02)
    assert one.verdict == "cannot tell" and "it needs two or more" in one.why


def test_a_mean_over_models_is_students_test() -> None:
    """Without shared noise the interval and p are those of a one-sample t-test."""
    values = [0.1, 0.3, 0.2, 0.25, 0.05]
    found = for_like(mean_over(units(values, 1e-9), "sizes"))
    wanted = stats.ttest_1samp(values, 0.0)
    interval = wanted.confidence_interval()
    assert found is not None and found.p == pytest.approx(wanted.pvalue, rel=1e-6)
    assert (found.estimate.low, found.estimate.high) == pytest.approx(tuple(interval), rel=1e-6)


def test_noise_that_units_share_is_added() -> None:
    """Units that differ in nothing but move together with the items keep the error of the items."""
    same = noisy(0.1, 0.02)
    found = for_like(mean_over({"1": same, "2": same, "3": same}, "bases"))
    assert found is not None and found.error == pytest.approx(0.02, rel=1e-6)
    # Noise of their own is in how they differ already.
    apart = for_like(mean_over(units([0.1, 0.1, 0.1, 0.1], 0.02), "bases"))
    assert apart is not None and (apart.error is None or apart.error < 0.01)


def test_a_contrast_takes_its_error_from_all_bases() -> None:
    """Strong minus weak at like sizes, with the error of a regression on quality and size."""
    weak, strong = [0.1, 0.3, 0.35, 0.6], [0.5, 0.6, 0.8, 0.9]
    found = contrast_over(points(weak), points(strong, "strong"))
    design = np.array([[1, q, x] for q in (0, 1) for x in range(4)], dtype=float)
    solution, (rest,), *_ = np.linalg.lstsq(design, np.array(weak + strong), rcond=None)
    error = np.sqrt(rest / 5 * np.linalg.inv(design.T @ design)[1, 1])
    test = for_like(found)
    assert test is not None and found.freedom == 5
    assert (test.value, test.error) == pytest.approx((solution[1], error), rel=1e-3)
    assert contrast_over(points([0.1]), points([0.5], "strong")).freedom < 1


def test_a_trend_is_least_squares_with_a_level_a_quality() -> None:
    """Slope, error and degrees of freedom are those of a regression with one slope and a level each."""
    weak, strong = [0.1, 0.3, 0.35, 0.6], [0.5, 0.4, 0.8]
    found = trend_over([*points(weak), *points(strong, "strong"), *points([9.0], "odd")])
    design = np.array([[1, 0, x] for x in range(4)] + [[0, 1, x] for x in range(3)], dtype=float)
    values = np.array(weak + strong)
    solution, (rest,), *_ = np.linalg.lstsq(design, values, rcond=None)
    error = np.sqrt(rest / 4 * np.linalg.inv(design.T @ design)[2, 2])
    test = for_like(found)
    assert test is not None and found.freedom == 4
    assert (test.value, test.error) == pytest.approx((solution[2], error), rel=1e-3)
    assert found.effect is not None and found.effect.value == pytest.approx(solution[2])
    weights = np.linalg.pinv(design)[2]
    reach = for_these(found.effect).error
    assert reach == pytest.approx(0.001 * np.sqrt((weights**2).sum()), rel=0.2)


@pytest.mark.parametrize("level", [0.9, 0.3])
def test_retention_is_a_slope_however_much_there_is_to_keep(level: float) -> None:
    """A planted slope of what is kept comes back, also where what is kept of few experts differs by size."""
    lower = [level * (1 + 0.2 * index) for index in range(4)]
    upper = [one * (0.4 + 0.1 * index) for index, one in enumerate(lower)]
    found = retention_over(points(lower), points(upper))
    assert found.effect is not None and found.effect.value == pytest.approx(0.1, abs=1e-6)
    assert [one.value for one in dict(found.rows).values() if one] == pytest.approx([0.4, 0.5, 0.6, 0.7])
    assert found.rests == pytest.approx([0.0] * 4, abs=1e-9)


def test_nothing_to_keep_has_no_retention() -> None:
    """Where merges of the fewest experts keep nothing that can be told from zero there is no trend of it."""
    found = retention_over(points([0.01, -0.02, 0.0], error=0.05), points([0.1, 0.1, 0.1]))
    assert found.effect is None and "nothing that can be told from zero" in found.lacking
    assert retention_over(points([0.5]), points([0.4])).lacking == "fewer than two sizes to compare"


def test_two_sizes_make_a_line_and_no_test() -> None:
    """One quality at two sizes has a slope for these models and none for models like these."""
    (settled,) = settle([trend_over(points([0.1, 0.5]))], [1], ["bases"], 0.02)
    assert [line.verdict for line in settled.lines] == ["supported", "cannot tell"]
    assert settled.lines[1].p is None and "it needs three" in settled.lines[1].why
