"""Standard errors: against the textbook, and against many repeated draws."""

from __future__ import annotations

import math
import random
from statistics import fmean

import numpy as np
import pytest

from evals.stderr import bootstrap_stderr, mean_stderr


def test_zeros_and_ones_give_the_binomial_error() -> None:
    """For 0/1 items the error of the mean is sqrt(p (1 - p) / (n - 1))."""
    items = [1.0] * 30 + [0.0] * 70
    assert mean_stderr(items) == pytest.approx(math.sqrt(0.3 * 0.7 / 99), rel=1e-14)


def test_the_error_of_a_mean_is_the_spread_of_means() -> None:
    """The mean of n draws scatters over repetitions as its standard error says."""
    draws = np.random.default_rng(5).exponential(size=(4000, 50))
    claimed = fmean(error for row in draws[:400] if (error := mean_stderr(row.tolist())) is not None)
    assert claimed == pytest.approx(float(draws.mean(axis=1).std(ddof=1)), rel=0.05)


@pytest.mark.parametrize("items", [[], [1.0]])
def test_one_item_has_no_error(items: list[float]) -> None:
    """With fewer than two items there is no standard error, rather than zero."""
    assert mean_stderr(items) is None
    assert bootstrap_stderr(items, fmean) is None


def test_the_bootstrap_agrees_with_the_closed_form() -> None:
    """For the mean, resampling gives the closed form within its own error of about 3.5%."""
    items = np.random.default_rng(1).normal(size=200).tolist()
    assert bootstrap_stderr(items, fmean) == pytest.approx(mean_stderr(items), rel=0.12)


def test_the_bootstrap_repeats_itself_and_leaves_the_generators_alone() -> None:
    """The same items give the same error, and no global random state moves."""
    items = list(range(20))
    before = random.getstate(), np.random.get_state()[1].tolist()
    assert bootstrap_stderr(items, max) == bootstrap_stderr(items, max)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_a_score_without_a_value_has_no_error() -> None:
    """When a resample has no finite score there is no standard error."""
    assert bootstrap_stderr([1.0, 2.0, 3.0], lambda items: math.nan) is None
