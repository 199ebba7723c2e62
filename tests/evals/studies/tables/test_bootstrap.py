"""Resamples: the same items for all, seeds in pairs, the closed form, coverage, and a slow reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist, fmean

import numpy as np
import pytest

from evals.studies.tables.sheet import Sheet, estimate, make_sheet
from evals.studies.tables.summary import summarise
from evals.studies.tables.values import Question, Score, Subject
from tests.helpers.study_scores import random_scores

QUESTION = Question("held-out", "out", "x", "x1", "acc", True, None)
BASE = Subject("1m-weak", "1m", "weak", 1_000_000, "base")


def merge(seed: int, count: int = 2) -> Subject:
    """A merge of the base."""
    return replace(BASE, kind="merge", method="linear", count=count, seed=seed, experts=("a", "b"))


def score(subject: Subject, items: Sequence[float], question: Question = QUESTION) -> Score:
    """A mean over items."""
    return Score(
        f"{subject.kind}{subject.seed}{subject.count}", subject, question, fmean(items), items=tuple(items)
    )


def test_all_subjects_get_the_same_items() -> None:
    """A resample picks one item fewer than there are, the same for everybody who answered as many."""
    count = 7
    ones = [score(merge(index), np.eye(count)[index].tolist()) for index in range(count)]
    values = [0.1, 0.5, 0.2, 0.9, 1.0, 0.0, 0.3]
    sheet = make_sheet([*ones, score(BASE, values)], 50)
    times_NR = (count - 1) * np.stack([sheet.drawn[one.subject, QUESTION] for one in ones])[:, 1:]
    assert np.allclose(times_NR, np.rint(times_NR)) and np.allclose(times_NR.sum(axis=0), count - 1)
    assert len({tuple(column) for column in np.rint(times_NR).T}) > 25
    drawn = sheet.drawn[BASE, QUESTION]
    assert drawn[0] == fmean(values)
    assert np.allclose(drawn[1:], np.array(values) @ times_NR / (count - 1), rtol=1e-12)


def slow_quotient(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """The quotient, then its linear part in each resample less its bias, by plain loops."""
    count = len(over) - 1
    middle_over, middle_under = fmean(over[1:]), fmean(under[1:])
    plain = over[0] / under[0]
    away = [(o - middle_over, u - middle_under) for o, u in zip(over[1:], under[1:], strict=True)]
    variance, covariance = sum(u * u for _, u in away) / count, sum(o * u for o, u in away) / count
    bias = plain * variance / under[0] ** 2 - covariance / under[0] ** 2
    return [plain, *(plain - bias + (o - plain * u) / under[0] for o, u in away)]


def reference(sheet: Sheet, one: Subject, role: str) -> list[float]:
    """A merge's ratio, as measured and in every resample, by plain loops over Python floats."""
    by_category: dict[str, list[list[float]]] = {}
    for (subject, question), drawn in sheet.drawn.items():
        if subject != one or question.role != role:
            continue
        kind, experts = ("base", ()) if role == "held-out" else ("expert", (question.category,))
        under = next(
            values
            for (sub, asked), values in sheet.drawn.items()
            if asked == question and (sub.base, sub.kind, sub.experts) == (one.base, kind, experts)
        )
        by_category.setdefault(question.category, []).append(slow_quotient(drawn.tolist(), under.tolist()))
    means = [[fmean(column) for column in zip(*values, strict=True)] for values in by_category.values()]
    return [fmean(column) for column in zip(*means, strict=True)]


@pytest.mark.parametrize("role", ["held-in", "held-out"])
def test_arrays_agree_with_plain_loops(role: str) -> None:
    """Ratio and interval of a merge are those of loops over each resample's scores, on the log scale."""
    scores = random_scores(5, seeds=(1,))
    sheet = make_sheet(scores, 25)
    group = replace(BASE, kind="merge", method="ties", count=2)
    one = next(sub for sub in sheet.subjects if replace(sub, experts=(), seed=0) == group)
    slow = reference(sheet, one, role)
    row = next(one for one in summarise(scores, 25) if (one.subject, one.role) == (group, role))
    assert row.ratio is not None
    assert row.ratio.value == pytest.approx(slow[0], rel=1e-12)
    middle = fmean(slow[1:])
    ordered = sorted(middle * math.exp(one / middle - 1) for one in slow[1:])
    # Of 25 resamples the 2.5% quantile is the smallest, the 97.5% quantile the largest.
    assert (row.ratio.low, row.ratio.high) == pytest.approx((ordered[0], ordered[-1]), rel=1e-12)


def test_the_interval_of_a_mean_is_the_closed_form() -> None:
    """For a plain mean the percentile interval is mean +- 1.96 standard errors, to the noise of the draws."""
    items = (np.random.default_rng(0).random(400) < 0.7).astype(float).tolist()
    row = next(one for one in summarise([score(BASE, items)], 4000) if one.role == "held-out")
    assert row.raw is not None and row.raw.low is not None and row.raw.high is not None
    error = math.sqrt(row.raw.value * (1 - row.raw.value) / 400)
    reach = NormalDist().inv_cdf(0.975) * error
    # A 2.5% quantile of 4000 normal draws has a standard error of 0.042; items come in steps of 0.11 errors.
    assert row.raw.low == pytest.approx(row.raw.value - reach, abs=0.25 * error)
    assert row.raw.high == pytest.approx(row.raw.value + reach, abs=0.25 * error)


def test_without_items_the_standard_error_is_drawn_from() -> None:
    """A score with a standard error alone has the interval of that normal; one with neither has none."""
    bare = Score("b", BASE, QUESTION, 0.5, stderr=0.1)
    row = summarise([bare], 4000)[0]
    assert row.raw is not None
    assert (row.raw.low, row.raw.high) == pytest.approx((0.5 - 0.196, 0.5 + 0.196), abs=0.02)
    nothing = summarise([replace(bare, stderr=None)], 4000)[0].raw
    assert nothing is not None and nothing.low is None and nothing.value == 0.5


def test_items_whose_mean_is_not_the_score_are_not_resampled() -> None:
    """Items of another scale (log-likelihoods under a perplexity) never pass for the score's own."""
    odd = Score("b", BASE, QUESTION, 20.0, stderr=1.0, items=(-3.0, -2.0, -4.0))
    row = summarise([odd], 2000)[0]
    assert row.raw is not None and row.raw.low == pytest.approx(20 - 1.96, abs=0.25)


def test_intervals_cover() -> None:
    """Over 200 samples of 80 items the 95% interval holds the true mean about as often as it says."""
    draw, hits = np.random.default_rng(1), 0
    for _ in range(200):
        row = summarise([score(BASE, (draw.random(80) < 0.6).astype(float).tolist())], 300)[0]
        assert row.raw is not None and row.raw.low is not None and row.raw.high is not None
        hits += row.raw.low <= 0.6 <= row.raw.high
    assert 0.90 <= hits / 200 <= 0.99


def test_an_undefined_resample_is_beyond_both_ends() -> None:
    """Resamples without a figure widen the interval; more of them than it leaves out take it away."""
    drawn = np.append(0.5, np.linspace(0, 1, 1000))
    whole = estimate(drawn)
    drawn[500:510] = np.nan
    wider = estimate(drawn)
    assert whole.low is not None and wider.low is not None and wider.low < whole.low
    assert whole.high is not None and wider.high is not None and wider.high > whole.high
    drawn[500:540] = np.nan
    assert estimate(drawn).low is None and estimate(drawn).value == 0.5


def test_pairing_cancels_what_is_shared() -> None:
    """A merge that answers exactly as its base does is at 1 in every resample."""
    items = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    rows = summarise([score(BASE, items), score(merge(1), items)], 300)
    ratio = next(one for one in rows if one.subject.kind == "merge" and one.role == "held-out").ratio
    assert ratio is not None and (ratio.low, ratio.value, ratio.high) == (1.0, 1.0, 1.0)


def test_less_is_better_turns_ratios_over() -> None:
    """Perplexity 10 against the base's 20 is a ratio of 2; above chance has no meaning, and says so."""
    question = replace(QUESTION, higher_is_better=False)
    rows = summarise([Score("b", BASE, question, 20.0), Score("m", merge(1), question, 10.0)], 0)
    row = next(one for one in rows if one.subject.kind == "merge" and one.role == "held-out")
    assert row.ratio is not None and row.ratio.value == 2.0
    assert row.corrected is None and row.holes == () and "less is better" in row.undefined[0]
