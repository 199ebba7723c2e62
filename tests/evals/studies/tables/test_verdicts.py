"""The law of verdicts: made-up studies without an effect are not judged, planted effects are found."""

from __future__ import annotations

from collections import Counter

import pytest
from scipy import stats

from benchmarks.verdicts import Condition, coverage, judge

#: Verdicts that are wrong where nothing that is claimed is so.
WRONG = ("supported", "the opposite is seen")


def assert_seldom_wrong(counted: dict[str, Counter[str]], number: int) -> None:
    """No finding has more wrong verdicts than 5% of studies, within what chance makes of it."""
    most = stats.binom.ppf(0.999, number, 0.05)
    assert counted
    for name, verdicts in counted.items():
        assert verdicts.total() == number
        assert sum(verdicts[wrong] for wrong in WRONG) <= most, (name, verdicts)


@pytest.mark.parametrize(
    "condition",
    [Condition("null", 40, base=0.3), Condition("null", 100, luck=0.02, sizes=3)],
    ids=["noise", "luck"],
)
def test_nothing_is_found_where_nothing_is(condition: Condition) -> None:
    """Noise of items, at the level where ratios bend most, and luck of bases make no verdict."""
    assert_seldom_wrong(judge(condition, 12, resamples=100), 12)


def test_a_planted_effect_is_found() -> None:
    """The paper's difference of strong and weak bases is supported, from 50 items and with luck of bases."""
    counted = judge(Condition("paper", 50, luck=0.02), 5, resamples=100)
    assert counted["1 Strong bases merge better"]["supported"] >= 3


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("luck", [0.0, 0.02])
@pytest.mark.parametrize("items", [20, 50, 200])
@pytest.mark.parametrize("sizes", [3, 4])
def test_every_finding_errs_in_one_study_of_twenty_at_most(items: int, luck: float, sizes: int) -> None:
    """Without any true effect no finding, nor either of its scopes but that of luck, errs more often than 5%.

    For these models alone a base's luck is an effect, as it is in them; that is what the other scope is for.
    """
    counted = judge(Condition("null", items, luck, sizes), 200)
    apart = {
        name: one for name, one in counted.items() if luck == 0 or not name.endswith("| for these models")
    }
    assert_seldom_wrong(apart, 200)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_effects_are_found_with_the_power_that_the_docs_name() -> None:
    """At 50 items and with luck strong bases are told from weak ones in 9 of 10 studies of the paper's
    effects."""
    counted = judge(Condition("paper", 50, luck=0.02), 60)
    assert counted["1 Strong bases merge better"]["supported"] >= 50
    assert counted["2 Larger models merge better | for these models"]["supported"] >= 50


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("items", [20, 200])
def test_intervals_of_cells_hold_the_truth(items: int) -> None:
    """The tables' 95% intervals hold a cell's true ratio in 90% to 99% of cells, with few items and many."""
    for kind, seen in coverage(Condition("null", items), 30).items():
        assert 0.90 <= seen["holds"] / seen.total() <= 0.99, (kind, seen)
