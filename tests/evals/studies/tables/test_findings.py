"""Findings: planted effects are found in the units they name, gaps are named, measures stand side by side."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from evals.studies.tables.averages import averages
from evals.studies.tables.findings import findings
from evals.studies.tables.sheet import make_sheet
from evals.studies.tables.values import Finding, Question, Role, Score, Subject

CATEGORIES = ("a", "b", "c", "d")
SIZES = {"1m": 10**6, "10m": 10**7, "100m": 10**8, "1b": 10**9, "10b": 10**10}
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
    apart = (METHODS.index(subject.method) - 1) * (0.12 - 0.03 * rank(subject)) if subject.method else 0.0
    kept = 0.5 + 0.1 * rank(subject) if subject.count == 4 else 1.0
    return (0.7 + 0.1 * (subject.quality == "strong") + 0.02 * rank(subject)) * kept + apart


def as_denied(subject: Subject) -> float:
    """Held-in levels against every claim."""
    apart = (METHODS.index(subject.method) - 1) * 0.03 * rank(subject) if subject.method else 0.0
    kept = 0.9 - 0.1 * rank(subject) if subject.count == 4 else 1.0
    return (0.9 - 0.1 * (subject.quality == "strong") - 0.02 * rank(subject)) * kept + apart


def level(subject: Subject) -> float:
    """The same for all."""
    return 0.7


@pytest.mark.parametrize(
    ("held_in", "held_out", "multitask", "verdict"),
    [
        (as_claimed, 1.2, 1.1, "supported"),
        (as_denied, 0.8, 0.9, "the opposite is seen"),
        (level, 1.0, 1.0, "no larger difference"),
    ],
)
def test_verdicts_follow_what_was_planted(
    held_in: Level, held_out: float, multitask: float, verdict: str
) -> None:
    """Scores made for all claims support them, scores against show the opposite, level ones no difference.

    Methods that do not differ cannot become more alike: there it cannot tell.
    """
    found = judged(study(held_in, lambda one: multitask if one.kind == "multitask" else held_out, 0.002))
    wanted = dict.fromkeys(found, verdict)
    if held_in is level:
        wanted["5 Methods become alike at scale"] = "cannot tell"
    assert len(found) == 7 and {name: one.verdict for name, one in found.items()} == wanted


def test_effects_are_in_the_units_they_name() -> None:
    """The planted difference of bases, slopes a decade and held-out gain come back as effects."""
    scores = study(as_claimed, lambda one: 1.2 - 0.1 * (one.kind == "multitask"), 0.002)
    found = list(judged(scores).values())
    values = [one.effect.value for one in found if one.effect is not None]
    sizes = range(5)
    # Strong minus weak is 0.1 of what is kept: all with two experts, 0.5 to 0.9 with four.
    assert values[0] == pytest.approx(0.1 * (1 + 0.7) / 2, abs=0.003)
    at_four = [(0.75 + 0.02 * one) * (0.5 + 0.1 * one) for one in sizes]
    assert values[1] == pytest.approx(float(np.polyfit(sizes, at_four, 1)[0]), abs=0.003)
    assert values[2:4] == pytest.approx([0.2, 0.1], abs=0.003)
    assert values[4:6] == pytest.approx([0.1, 0.1], abs=0.01)
    # Spreads of 0.12, 0.09, 0.06, 0.03 and 0: the slope of the variance over twice the mean spread.
    variances = [(0.12 - 0.03 * one) ** 2 for one in sizes]
    slope = float(np.polyfit(sizes, variances, 1)[0]) / 2 / float(np.sqrt(np.mean(variances)))
    assert values[6] == pytest.approx(slope, abs=0.003)


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


def test_the_strong_quality_is_named() -> None:
    """The difference says which quality is taken from which: the order is the study file's, not ours."""
    scores = study(as_claimed, lambda one: 1.1)
    right = judged(scores)["1 Strong bases merge better"]
    wrong = judged(scores, ("strong", "weak"))["1 Strong bases merge better"]
    assert right.unit.endswith(", strong minus weak") and wrong.unit.endswith(", weak minus strong")
    assert right.effect is not None and wrong.effect is not None
    assert wrong.effect.value == pytest.approx(-right.effect.value)


def test_methods_that_are_missing_are_named() -> None:
    """Where scores of all methods but one are missing the finding says whose, not only that there is one."""
    scores = [
        replace(one, value=None, why="lost") if one.subject.method not in ("", "ties") else one
        for one in study(as_claimed, lambda one: 1.1)
    ]
    why = judged(scores)["5 Methods become alike at scale"].why
    assert "fewer than two methods" in why and "lacking what they need: " in why and "weak" in why


def test_the_scale_that_is_judged_is_free_of_guessing() -> None:
    """With levels of chance the share of the experts' gain decides and the paper's ratio stands beside.

    Where their verdicts differ the finding says so.
    """
    scores = []
    for one in study(lambda who: 0.85 if who.quality == "strong" else 0.9, lambda one: 1.0, 0.001):
        question = replace(one.question, chance=0.4 if one.question.role == "held-in" else 0.25)
        # Experts of strong bases score 0.5, of weak ones 0.8: 0.85 of the first is a fourth of its gain.
        scale = 1.6 if one.subject.quality == "weak" and one.question.role == "held-in" else 1.0
        scores.append(replace(one, question=question, value=(one.value or 0) * scale))
    found = judged(scores)["1 Strong bases merge better"]
    # Shares: (0.425 - 0.4) / 0.1 and (0.72 - 0.4) / 0.4.
    assert found.effect is not None and found.effect.value == pytest.approx(0.25 - 0.8, abs=0.01)
    assert found.measure == "share of the experts' gain over guessing" and found.beside is not None
    assert found.beside[0] == "mean of the paper's ratios" and found.beside[1] is not None
    assert found.beside[1].value == pytest.approx(-0.05, abs=0.002)
    assert all(other is not None for _, _, other in found.rows)
    near = [replace(one, value=0.5 * 0.9) if is_merge_of(one, "strong") else one for one in scores]
    differs = judged(near)["1 Strong bases merge better"]
    # Ratios of 0.9 and 0.9 are alike, of the gain one keeps half and the other 0.8.
    assert differs.verdict == "the opposite is seen" and differs.beside is not None
    assert differs.beside[2] == "no larger difference"
    assert "on the mean of the paper's ratios the verdict would be: no larger difference" in differs.why


def is_merge_of(score: Score, quality: str) -> bool:
    """Whether it is a held-in score of a merge of such a base."""
    subject = score.subject
    return (subject.kind, subject.quality, score.question.role) == ("merge", quality, "held-in")


def test_a_task_without_chance_is_judged_on_ratios_alone() -> None:
    """Where one task has no level of chance the paper's ratio is judged, and nothing stands beside."""
    scores = study(as_claimed, lambda one: 1.1)
    found = judged(
        [
            replace(one, question=replace(one.question, chance=0.1)) if one.question.category != "a" else one
            for one in scores
        ]
    )["2 Larger models merge better"]
    assert found.measure == "mean of the paper's ratios" and found.beside is None


def test_scores_without_noise_go_by_the_models_alone() -> None:
    """Bare scores have no interval for these models: the verdict is the other one, and says so."""
    bare = [replace(one, stderr=None) for one in study(as_claimed, lambda one: 1.1)]
    found = judged([one for one in bare if one.subject.seed in (0, 1)])["1 Strong bases merge better"]
    assert found.effect is not None and found.effect.low is None
    assert found.verdict == found.lines[1].verdict == "supported" and "no noise of their own" in found.why


def test_three_sizes_of_luck_are_no_sample() -> None:
    """What is sure of these models alone is not supported: the finding says of which scope it cannot tell."""
    luck = {"1m": 0.3, "10m": 0.0, "100m": 0.05}
    scores = study(lambda one: 0.6 + luck.get(one.size, 0.0) * (one.quality == "strong"), lambda one: 1.0)
    found = judged([one for one in scores if one.subject.size in luck])["1 Strong bases merge better"]
    assert [line.verdict for line in found.lines] == ["supported", "cannot tell"]
    assert found.verdict == "cannot tell" and "for these models: supported" in found.why
    assert "would show with some" in found.why and "bases in place of 6" in found.why
