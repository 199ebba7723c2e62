"""Noise: a ratio's bias is taken off, items count once, few seeds are not sure, runs are a level of their
own."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evals.ratios import Floats, centre, quotient
from evals.studies.tables.noise import Noisy, Part, over_draws, reach, total, wider
from evals.studies.tables.sheet import make_sheet
from evals.studies.tables.summary import summarise
from evals.studies.tables.values import Question, Score, Subject

BASE = Subject("1m-weak", "1m", "weak", 1_000_000, "base")
RESAMPLES = 200


def drawn(draw: np.random.Generator, share: float, items: int) -> Floats:
    """A score of right and wrong items with its resamples."""
    right = (draw.random(items) < share).astype(float)
    picked = draw.multinomial(items - 1, np.full(items, 1 / items), size=RESAMPLES)
    return np.append(right.mean(), picked @ right / (items - 1))


def test_a_ratio_of_noisy_scores_is_not_too_large() -> None:
    """Of scores that are truly alike the plain ratio is too large by 1/items and more; its centre is not.

    Its interval misses the truth about as often as it says, and not above it.
    """
    draw, plain, middle, misses = np.random.default_rng(0), [], [], []
    for _ in range(300):
        # Four tasks of 20 items: what a held-out cell of a small study averages over.
        tasks = [quotient(drawn(draw, 0.5, 20), drawn(draw, 0.5, 20)) for _ in range(4)]
        mean = np.mean(tasks, axis=0)
        plain.append(mean[0])
        middle.append(centre(mean))
        low, high = np.quantile(mean[1:], [0.025, 0.975])
        misses.append(int(low > 1) - int(high < 1))
    assert np.mean(plain) > 1.035 and abs(np.mean(middle) - 1) < 0.025
    above, below = ((np.array(misses) == sign).mean() for sign in (1, -1))
    assert above < 0.04 and below < 0.075 and above + below < 0.085


def test_resamples_of_a_quotient_have_its_centre() -> None:
    """The mean of the resamples is the quotient less its second-order bias, to the last digits."""
    draw = np.random.default_rng(3)
    over, under = drawn(draw, 0.6, 30), drawn(draw, 0.7, 30)
    found = quotient(over, under)
    spread, both = under[1:].var(), np.cov(over[1:], under[1:], ddof=0)[0, 1]
    assert found[0] == over[0] / under[0]
    wanted = found[0] - (found[0] * spread - both) / under[0] ** 2
    assert found[1:].mean() == pytest.approx(wanted, rel=1e-12)
    assert np.isnan(quotient(over, np.zeros(1))).all() and quotient(np.ones(1), np.full(1, 2.0)) == [0.5]
    assert np.array_equal(quotient(under, under), np.ones_like(under))


def seeds(draw: np.random.Generator, of_draws: float, of_items: float, count: int = 3) -> dict[int, Floats]:
    """Figures of seeds: true ones that differ so much, with noise of items beside."""
    found = {}
    for seed in range(count):
        value = of_draws * draw.standard_normal() + of_items * draw.standard_normal()
        noise = draw.standard_normal(RESAMPLES)
        found[seed] = np.append(value, value + of_items * (noise - noise.mean()))
    return found


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize(("of_draws", "of_items"), [(0.0, 0.1), (0.05, 0.05), (0.1, 0.1), (0.1, 0.03)])
def test_few_seeds_are_no_surer_than_they_say(of_draws: float, of_items: float, count: int) -> None:
    """Intervals of 2, 3 and 5 seeds hold the truth 19 times in 20 or more, whatever makes seeds differ."""
    draw, held, most = np.random.default_rng(1), [], []
    for index in range(400):
        figures = {(0, seed): one for seed, one in seeds(draw, of_draws, of_items, count).items()}
        figure = over_draws("b", figures, index)
        low, high = np.quantile(figure.array[1:], [0.025, 0.975])
        held.append(low <= 0 <= high)
        most.append(abs(figure.value) <= reach(figure.parts))
    # Two standard errors of 400 below 95%.
    assert np.mean(most) >= 0.93
    # Quantiles of 200 resamples are short by a little themselves.
    assert np.mean(held) >= 0.92


def test_items_count_once() -> None:
    """Of seeds that differ by items alone the variance is that of the items, and no interval is narrower."""
    draw, found = np.random.default_rng(2), []
    for _ in range(400):
        figure = over_draws("b", {(0, seed): one for seed, one in seeds(draw, 0.0, 0.1, 8).items()})
        items = float(figure.items[1:].var())
        assert figure.variance >= items and reach(figure.parts) >= 1.9599 * math.sqrt(items) - 1e-12
        found.append(sum(part.variance for part in figure.parts))
    # Eight seeds: 0.1^2 / 8, where counting items among seeds as well would give twice that.
    assert np.mean(found) == pytest.approx(0.01 / 8, rel=0.1)


def test_seeds_and_runs_count_items_once() -> None:
    """Of runs and seeds that differ by the noise of items alone the variance is that of the items."""
    draw, found, wanted = np.random.default_rng(5), [], []
    for _ in range(200):
        ones = [seeds(draw, 0.0, 0.1, 4) for _ in range(4)]
        figures = {(run, seed): one for run, levels in enumerate(ones) for seed, one in levels.items()}
        figure = over_draws("b", figures)
        found.append(sum(part.variance for part in figure.parts))
        wanted.append(float(figure.items[1:].var()))
    assert np.mean(found) == pytest.approx(np.mean(wanted), rel=0.3)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_resampled_seeds_vary_as_their_mean_does(count: int) -> None:
    """Of figures without noise of items the variance is s^2 / n, widened as a t-test is."""
    values = np.random.default_rng(count).normal(size=count)
    still = {(0, seed): np.full(20_001, value) for seed, value in enumerate(values)}
    found = over_draws("b", still)
    assert found.array[0] == pytest.approx(values.mean(), rel=1e-12)
    assert found.variance == pytest.approx(values.var(ddof=1) / count)
    assert found.array[1:].var() == pytest.approx(found.variance * wider(count - 1) ** 2, rel=0.05)
    assert wider(math.inf) == pytest.approx(1) and wider(2) == pytest.approx(4.3027 / 1.95996, rel=1e-4)


def test_parts_reach_as_far_as_each_is_known() -> None:
    """A part that is known reaches 1.96 errors, one of two degrees of freedom 4.3; both add as squares."""
    assert reach([Part(1.0)]) == pytest.approx(1.95996, rel=1e-5)
    assert reach([Part(1.0, 2.0)]) == pytest.approx(4.30265, rel=1e-5)
    assert reach([Part(1.0), Part(1.0, 2.0)]) == pytest.approx(math.hypot(1.95996, 4.30265), rel=1e-5)
    assert reach([Part(0.01, 2.0, least=1.0)]) == pytest.approx(1.95996, rel=1e-5)


def test_runs_are_drawn_in_each_base_and_seeds_in_all() -> None:
    """A difference of two bases keeps what their runs add, and loses what the same seeds add to both."""
    still = np.zeros(101)
    weak = over_draws("weak", {(run, seed): still + run + 5 * seed for run in (0, 2) for seed in (0, 1)})
    strong = over_draws("strong", {(run, seed): still + run + 5 * seed for run in (0, 1) for seed in (0, 1)})
    both = total([(1.0, strong), (-1.0, weak)])
    # Runs 0 and 2: s^2 / n = 2 / 2; runs 0 and 1: 0.5 / 2; seeds 0 and 5: 12.5 / 2.
    assert weak.variance == pytest.approx(1 + 6.25) and strong.variance == pytest.approx(0.25 + 6.25)
    assert both.variance == pytest.approx(1.25)
    assert both.value == pytest.approx(-0.5)


def test_runs_widen_a_cell_and_have_figures_of_their_own() -> None:
    """A merge of each run is set over that run's expert; the cell is their mean, and what they differ
    shows."""
    question = Question("held-in", "in", "a", "a1", "acc", True, 0.25)
    place = ("1m-weak", "1m", "weak", 1_000_000)
    scores = [Score("b", Subject(*place, "base"), question, 0.25, 0.001)]
    for run, (expert, merge) in enumerate([(0.8, 0.4), (0.5, 0.5), (0.5, 0.75)]):
        of = Subject(*place, "expert", experts=("a",), run=run)
        scores.append(Score(f"e{run}", of, question, expert, 0.001))
        made = Subject(*place, "merge", "ties", 1, 0, ("a",), run)
        scores.append(Score(f"m{run}", made, question, merge, 0.001))
    (row,) = [one for one in summarise(scores, 200) if one.subject.kind == "merge"]
    assert row.ratio is not None and row.ratio.value == pytest.approx(1.0)
    assert row.by_run == pytest.approx({0: 0.5, 1: 1.0, 2: 1.5}) and row.by_seed == pytest.approx({0: 1.0})
    assert row.ratio.low is not None and row.ratio.low < 0.5 and row.subject.run == 0
    base = next(one for one in summarise(scores, 0) if one.subject.kind == "base")
    assert base.ratio is not None and base.ratio.value == pytest.approx((0.25 / 0.8 + 0.5 + 0.5) / 3)
    assert make_sheet(scores, 0).runs == {"1m-weak": (0, 1, 2)}


def test_a_reference_that_might_be_zero_gives_no_interval() -> None:
    """The share of a gain that its noise could make up has a figure and no interval."""
    question = Question("held-out", "out", "x", "x1", "acc", True, 0.25)
    merge = Subject("1m-weak", "1m", "weak", 1_000_000, "merge", "ties", 1, 0, ("a",))
    scores = [Score("b", BASE, question, 0.3, 0.05), Score("m", merge, question, 0.35, 0.05)]
    row = next(one for one in summarise(scores, 200) if one.subject.kind == "merge")
    assert row.corrected is not None and row.corrected.value == pytest.approx(2.0)
    assert row.corrected.low is None and row.ratio is not None and row.ratio.low is not None


def test_no_noise_has_no_variance() -> None:
    """A bare figure is what it is."""
    assert Noisy(np.full(1, 0.5)).variance == 0 and Noisy(np.full(1, 0.5)).array == [0.5]
