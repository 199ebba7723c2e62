"""Findings: planted effects are found, verdicts follow the interval, tests are exact, gaps are named."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from evals.studies.tables.averages import averages
from evals.studies.tables.evidence import Line, Unit, effect, judge, sign_flip, size_permutation, steps
from evals.studies.tables.findings import findings
from evals.studies.tables.sheet import make_sheet
from evals.studies.tables.values import Estimate, Finding, Question, Role, Score, Subject

CATEGORIES = ("a", "b", "c", "d")
SIZES = {"1m": 10**6, "10m": 10**7, "100m": 10**8}
QUALITIES = ("weak", "strong")
METHODS = ("linear", "ties", "dare")
Level = Callable[[Subject], float]


def study(held_in: Level, held_out: Level, stderr: float = 0.004) -> list[Score]:
    """Merges and multitask models at given levels over experts and bases of 0.5."""
    found = []

    def put(subject: Subject, role: Role, category: str, value: float) -> None:
        name = f"{category}-{role}"
        question = Question(
            "held-in" if role == "held-in" else "held-out", "s", category, name, "acc", True, None
        )
        error = 0.0 if subject.kind in ("base", "expert") else stderr
        found.append(Score("id", subject, question, 0.5 * value, error))

    for size, quality in itertools.product(SIZES, QUALITIES):
        place = (f"{size}-{quality}", size, quality, SIZES[size])
        multitask = Subject(*place, "multitask", experts=CATEGORIES)
        grid = itertools.product(METHODS, (2, 4), (1, 2))
        merges = [Subject(*place, "merge", m, k, seed, CATEGORIES[:k]) for m, k, seed in grid]
        put(Subject(*place, "base"), "held-out", "x", 1.0)
        for category in CATEGORIES:
            put(Subject(*place, "expert", experts=(category,)), "held-in", category, 1.0)
        for subject in (multitask, *merges):
            put(subject, "held-out", "x", held_out(subject))
            for category in subject.experts:
                put(subject, "held-in", category, held_in(subject))
    return found


def judged(scores: Sequence[Score], qualities: Sequence[str] = QUALITIES) -> dict[str, Finding]:
    """Findings by the beginning of their claims."""
    sheet = make_sheet(scores, 300)
    found = findings(sheet, averages(sheet), qualities)
    return {f"{one.number} {one.claim}": one for one in found}


def rank(subject: Subject) -> int:
    """0, 1, 2 from the smallest size."""
    return list(SIZES).index(subject.size)


def as_claimed(subject: Subject) -> float:
    """Held-in levels that bear every claim: better with quality and size, keeping more, alike at scale."""
    apart = METHODS.index(subject.method) * 0.06 * (2 - rank(subject)) if subject.method else 0.0
    loss = 0.1 * (3 - rank(subject)) * (subject.count == 4)
    return 0.7 + 0.1 * (subject.quality == "strong") + 0.03 * rank(subject) - loss + apart


def as_denied(subject: Subject) -> float:
    """Held-in levels against every claim."""
    apart = METHODS.index(subject.method) * 0.06 * rank(subject) if subject.method else 0.0
    loss = 0.1 * (1 + rank(subject)) * (subject.count == 4)
    return 0.9 - 0.1 * (subject.quality == "strong") - 0.1 * rank(subject) - loss + apart


@pytest.mark.parametrize(
    ("held_in", "held_out", "multitask", "verdict"),
    [
        (as_claimed, 1.2, 1.1, "supported"),
        (as_denied, 0.8, 0.9, "not supported"),
        (lambda subject: 0.7, 1.0, 1.0, "cannot tell"),
    ],
)
def test_verdicts_follow_what_was_planted(
    held_in: Level, held_out: float, multitask: float, verdict: str
) -> None:
    """Scores made for all claims support them, scores made against do not, level scores cannot tell."""
    found = judged(study(held_in, lambda one: multitask if one.kind == "multitask" else held_out))
    assert len(found) == 7
    assert {name: one.verdict for name, one in found.items()} == dict.fromkeys(found, verdict)


def test_effects_are_in_the_units_they_name() -> None:
    """The planted difference of 0.1 between bases, slope a decade and held-out ratio come back as effects."""
    found = list(judged(study(as_claimed, lambda one: 1.2 - 0.1 * (one.kind == "multitask"))).values())
    values = [one.effect.value for one in found if one.effect is not None]
    # Slope at 4 experts: 0.03 + 0.1 less a decade, less what methods lose on each other (mean 0.06).
    assert values[0] == pytest.approx(0.1, abs=0.005)
    assert values[1] == pytest.approx(0.07, abs=0.005)
    assert values[2:4] == pytest.approx([1.2, 0.1], abs=0.005)
    assert values[6] == pytest.approx(-0.06, abs=0.005)


def test_one_size_quality_or_count_cannot_tell() -> None:
    """What needs two sizes, qualities, counts or methods says that it has one."""
    scores = study(as_claimed, lambda one: 1.1)
    small = judged([one for one in scores if one.subject.size == "1m"])
    assert {name[:1] for name, one in small.items() if one.verdict == "cannot tell"} >= {"2", "4", "5"}
    weak = judged([one for one in scores if one.subject.quality == "weak"], ("weak",))
    assert weak["1 Strong bases merge better"].why == "bases of one quality only"
    two = judged([one for one in scores if one.subject.count != 4])
    assert two["4 Larger models tolerate more experts: weak bases"].why == "fewer than two numbers of experts"
    alone = judged([one for one in scores if one.subject.method in ("", "ties")])
    assert "fewer than two methods" in alone["5 Methods become alike at scale"].why
    assert all(one.verdict == "cannot tell" and one.effect is None for one in judged([]).values())


def test_gaps_are_left_out_and_named() -> None:
    """A merge without a score takes no part in its pair, and the finding names it."""
    scores = study(as_claimed, lambda one: 1.1)
    index = next(
        index
        for index, one in enumerate(scores)
        if (one.subject.method, one.subject.seed, one.question.role) == ("ties", 2, "held-in")
    )
    gone = scores[index].subject
    scores[index] = replace(scores[index], value=None, why="lost")
    why = judged(scores)["1 Strong bases merge better"].why
    assert f"left out, lacking what they need: 1 ({gone.size} ties {gone.count} experts seed 2)" in why


@pytest.mark.parametrize(
    ("low", "high", "null", "sign", "verdict"),
    [
        (0.1, 0.2, 0.0, 1, "supported"),
        (-0.2, -0.1, 0.0, 1, "not supported"),
        (-0.2, -0.1, 0.0, -1, "supported"),
        (0.1, 0.2, 0.0, -1, "not supported"),
        (0.0, 0.2, 0.0, 1, "cannot tell"),
        (0.9, 1.1, 1.0, 1, "cannot tell"),
        (None, None, 0.0, 1, "cannot tell"),
    ],
)
def test_the_verdict_is_the_intervals(
    low: float | None, high: float | None, null: float, sign: int, verdict: str
) -> None:
    """The whole interval beyond no difference decides; one that touches it, or none, does not."""
    assert judge(Estimate(0.15, None, low, high), null, sign)[0] == verdict
    assert judge(None, null, sign)[0] == "cannot tell"


def test_sign_flips_are_exact_for_few() -> None:
    """Five differences of one sign: 2 of the 32 ways are as far from zero."""
    assert sign_flip([0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx(2 / 32)
    assert sign_flip([0.0, 0.0, 0.0]) == 1.0 and sign_flip([1.0]) is None
    many = np.random.default_rng(0).normal(size=40).tolist()
    assert sign_flip(many) == sign_flip(many) and (sign_flip(many) or 0) > 0.05


def line(values: Sequence[float], group: str = "g") -> Line:
    """Figures at one, ten, a hundred ... times as many parameters."""
    points = {str(index): (10 ** (index + 1), np.array([value])) for index, value in enumerate(values)}
    return Line(f"{group}{values}", group, points)


def test_permuted_sizes_are_exact_for_few() -> None:
    """Three rising figures: 2 of 6 orders are as steep; lines of one group move together, of two apart."""
    assert size_permutation([line([1, 2, 3])]) == pytest.approx(1 / 3)
    assert size_permutation([line([1, 2, 3]), line([1, 3, 5])]) == pytest.approx(1 / 3)
    assert size_permutation([line([1, 2, 3], "g"), line([1, 2, 3], "h")]) == pytest.approx(2 / 36)
    assert size_permutation([line([1])]) is None
    assert (size_permutation([line(list(range(8)))]) or 1) < 0.001


def test_steps_add_up_to_the_least_squares_slope() -> None:
    """The weighted mean of a line's steps is its least-squares slope; weights are shares of one."""
    values = np.random.default_rng(2).normal(size=5)
    found = steps(line(values.tolist()))
    slope = np.polyfit(np.arange(5.0), values, 1)[0]
    assert sum(one.weight for one in found) == pytest.approx(1)
    assert sum(one.weight * one.drawn[0] for one in found) == pytest.approx(slope)
    assert all(one.weight > 0 for one in found)


def test_without_noise_of_their_own_units_are_resampled() -> None:
    """Bare units: the interval is that of their mean; a single one has none; none has no figure."""
    values = np.random.default_rng(3).normal(1, 1, size=50)
    found = effect([Unit(str(index), np.array([value])) for index, value in enumerate(values)])
    assert found is not None and found.low is not None
    reach = 1.96 * values.std(ddof=1) / math.sqrt(50)
    assert found.value - found.low == pytest.approx(reach, rel=0.15)
    alone = effect([Unit("a", np.array([1.0]))])
    assert alone is not None and alone.low is None and effect([]) is None


def test_the_strong_quality_is_named() -> None:
    """The difference says which quality is taken from which: the order is the study file's, not ours."""
    scores = study(as_claimed, lambda one: 1.1)
    right = judged(scores)["1 Strong bases merge better"]
    wrong = judged(scores, ("strong", "weak"))["1 Strong bases merge better"]
    assert right.unit.endswith(", strong minus weak") and wrong.unit.endswith(", weak minus strong")
    assert right.effect is not None and wrong.effect is not None
    assert wrong.effect.value == pytest.approx(-right.effect.value)


def test_nothing_to_keep_is_left_out_and_named() -> None:
    """A merge of few experts that scores zero has no retention: it takes no part, and the finding says so."""
    scores = study(as_claimed, lambda one: 1.1)
    few = min(one.subject.count for one in scores if one.subject.kind == "merge")
    place = ("1m", "weak", "ties", few)
    for index, one in enumerate(scores):
        who = one.subject
        if (who.size, who.quality, who.method, who.count) == place and one.question.role == "held-in":
            scores[index] = replace(one, value=0.0, items=(), stderr=None)
    why = judged(scores)["4 Larger models tolerate more experts: weak bases"].why
    assert "1m weak ties: nothing to keep" in why


def test_an_interval_that_resamples_cannot_form_says_so() -> None:
    """Scores with noise whose ratio cannot be formed in many resamples are not said to be without noise."""
    scores = [
        replace(one, value=0.25, items=(1.0, 0.0, 0.0, 0.0), n=4)
        for one in study(as_claimed, lambda one: 1.1)
    ]
    found = judged(scores)["3 Merging improves generalisation"]
    assert found.effect is not None and found.effect.low is None
    assert "in too many of the resamples" in found.why


def test_methods_that_are_missing_are_named() -> None:
    """Where scores of all methods but one are missing the finding says whose, not only that there is one."""
    scores = [
        replace(one, value=None, why="lost") if one.subject.method not in ("", "ties") else one
        for one in study(as_claimed, lambda one: 1.1)
    ]
    why = judged(scores)["5 Methods become alike at scale"].why
    assert "fewer than two methods" in why and "lacking what they need: " in why and "weak" in why
