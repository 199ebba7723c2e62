"""All scores of a study, each with its resamples: what every table is computed from. It averages nothing.

A figure is an array of R + 1 values, float64: [0] is what was measured, the rest are resamples, so that one
arithmetic makes a figure and its interval. An array of one value: there is nothing to draw from.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from evals.ratios import Floats, is_mean_of
from evals.studies.tables.values import Estimate, Kind, Question, Role, Score, Subject
from pipeline.errors import InputError

KINDS: tuple[Kind, ...] = ("base", "expert", "best expert", "multitask", "merge")
#: Why there is no score: nobody was asked for it, or nobody says.
UNASKED, ABSENT = "not asked for", "no score"


@dataclass(frozen=True)
class Sheet:
    """Scores by subject and question, in an order of their own: not that in which they were given.

    drawn: the scores that are there, as arrays.  resamples: R.  seed: of all draws.
    """

    scores: Mapping[tuple[Subject, Question], Score]
    drawn: Mapping[tuple[Subject, Question], Floats]
    subjects: tuple[Subject, ...]
    resamples: int
    seed: int

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Size -> parameters, rising: the largest of its bases."""
        found: dict[str, int] = {}
        for subject in self.subjects:
            found[subject.size] = max(found.get(subject.size, 0), subject.parameters)
        return dict(sorted(found.items(), key=lambda pair: (pair[1], pair[0])))

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """Every question that was put to anybody, by role, category, suite and task."""
        return tuple(sorted({question for _, question in self.scores}, key=_question_order))

    @cached_property
    def categories(self) -> dict[Role, dict[str, tuple[Question, ...]]]:
        """Role -> category -> its questions."""
        found: dict[Role, dict[str, tuple[Question, ...]]] = {"held-in": {}, "held-out": {}}
        for question in self.questions:
            before = found[question.role].get(question.category, ())
            found[question.role][question.category] = (*before, question)
        return found

    @cached_property
    def bases(self) -> dict[str, Subject]:
        """Name -> the base itself, where it was scored."""
        return {one.base: one for one in self.subjects if one.kind == "base"}

    @cached_property
    def experts(self) -> dict[tuple[str, str, int], Subject]:
        """(base, category, run) -> the expert of that category, where it was scored."""
        return {(one.base, one.experts[0], one.run): one for one in self.subjects if one.kind == "expert"}

    @cached_property
    def runs(self) -> dict[str, tuple[int, ...]]:
        """Base -> the runs that its experts were trained in, run 0 where it has none."""
        found: dict[str, set[int]] = {}
        for base, _, run in self.experts:
            found.setdefault(base, set()).add(run)
        return {one.base: tuple(sorted(found.get(one.base, {0}))) for one in self.subjects}

    def why(self, subject: Subject, question: Question) -> str:
        """Why a score is missing."""
        score = self.scores.get((subject, question))
        if score is None:
            return UNASKED
        return score.why or ("the score is not a number" if score.value is not None else ABSENT)


def make_sheet(scores: Iterable[Score], resamples: int, seed: int = 0) -> Sheet:
    """Check and order scores and draw their resamples.

    resamples: R >= 0, 0 for no intervals. Items of a question are resampled with replacement, the same ones
    for all subjects with as many items (Efron 1979, paired): n - 1 of n, so that a resampled mean varies as
    the mean does (McCarthy and Snowden 1985). A score that is not the mean of its items, or has none, is
    drawn from a normal with its standard error; one without either is not drawn at all. InputError: a score
    or subject given twice, a merge of nothing, an expert of no single category, a model that has scores but
    no parameters, two bases of one size and quality.
    """
    if resamples < 0:
        raise InputError("resamples below zero", expected="0 or more", found=str(resamples))
    table: dict[tuple[Subject, Question], Score] = {}
    for score in scores:
        key = (score.subject, score.question)
        if key in table:
            raise InputError(
                "a score is given twice", where=f"{score.question.task} of {name(score.subject)}"
            )
        table[key] = score
    subjects = {subject for subject, _ in table}
    _check(subjects, {subject for (subject, _), score in table.items() if score.value is not None})
    rank = _ranks(subjects)
    ordered = tuple(sorted(subjects, key=lambda one: (rank[one.size], *_subject_order(one))))
    table = dict(
        sorted(table.items(), key=lambda pair: (_subject_order(pair[0][0]), _question_order(pair[0][1])))
    )
    return Sheet(table, _draw_all(list(table.values()), resamples, seed), ordered, resamples, seed)


def estimate(drawn: Floats, spread: float | None = None) -> Estimate:
    """What was measured with its percentile interval (2.5% to 97.5% of the resamples).

    A resample in which the figure is not defined counts as beyond both ends; no interval where they reach it.
    """
    tail = drawn[1:]
    if tail.size == 0:
        return Estimate(float(drawn[0]), spread, None, None)
    odd = ~np.isfinite(tail)
    low = float(np.quantile(np.where(odd, -np.inf, tail), 0.025, method="inverted_cdf"))
    high = float(np.quantile(np.where(odd, np.inf, tail), 0.975, method="inverted_cdf"))
    if not (math.isfinite(low) and math.isfinite(high)):
        return Estimate(float(drawn[0]), spread, None, None)
    return Estimate(float(drawn[0]), spread, low, high)


def generator(*parts: object) -> np.random.Generator:
    """A stream of random numbers that follows from the parts alone, on every machine."""
    digest = hashlib.sha256("\x1f".join(map(repr, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def name(subject: Subject) -> str:
    """What a subject is called in a hole."""
    run = f"/run {subject.run}" if subject.run else ""
    if subject.kind == "merge":
        return f"{subject.base}/{subject.method}/{subject.count} experts/seed {subject.seed}{run}"
    if subject.kind == "base":
        return f"base {subject.base}"
    return " ".join((subject.kind, *(subject.experts[:1] if subject.kind == "expert" else ()))) + (
        f" of {subject.base}{run}"
    )


def _check(subjects: Iterable[Subject], scored: Set[Subject]) -> None:
    """InputError: subjects that tables cannot tell apart, or cannot place. scored: those with a score."""
    bases: dict[tuple[str, str], str] = {}
    known: dict[tuple[object, ...], Subject] = {}
    for subject in sorted(subjects, key=_subject_order):
        where = name(subject)
        wrong = {"expert": len(subject.experts) != 1, "merge": not subject.experts}
        if wrong.get(subject.kind):
            found = ", ".join(subject.experts) or "none"
            raise InputError(f"categories of a {subject.kind}", where=where, expected="its own", found=found)
        if subject.parameters < 1 and subject in scored:
            raise InputError("a model without parameters", where=where)
        own = subject.experts if subject.kind == "expert" else ()
        key = (subject.base, subject.kind, subject.method, subject.count, subject.seed, subject.run, own)
        if known.setdefault(key, subject) != subject:
            raise InputError("two subjects of one name", where=where)
        first = bases.setdefault((subject.size, subject.quality), subject.base)
        if first != subject.base:
            raise InputError(
                "two bases of one size and quality",
                where=f"{subject.size}, {subject.quality}",
                found=f"{first}, {subject.base}",
            )


def _ranks(subjects: Iterable[Subject]) -> dict[str, tuple[int, str]]:
    """Size -> where it stands among sizes."""
    found: dict[str, tuple[int, str]] = {}
    for subject in subjects:
        found[subject.size] = max(found.get(subject.size, (0, "")), (subject.parameters, subject.size))
    return found


def _subject_order(subject: Subject) -> tuple[object, ...]:
    return (
        subject.quality,
        subject.base,
        KINDS.index(subject.kind),
        subject.method,
        subject.count,
        subject.experts if subject.kind == "expert" else (),
        subject.seed,
        subject.run,
        subject.experts,
        subject.parameters,
        subject.size,
    )


def _question_order(question: Question) -> tuple[object, ...]:
    chance = math.inf if question.chance is None else question.chance
    direction = question.higher_is_better
    return (
        question.role, question.category, question.suite, question.task, question.metric, direction, chance,
    )  # fmt: skip


def _draw_all(scores: Sequence[Score], resamples: int, seed: int) -> dict[tuple[Subject, Question], Floats]:
    """Every score that is there as an array; those on the same items in one product of matrices."""
    drawn: dict[tuple[Subject, Question], Floats] = {}
    shared: dict[tuple[Question, int], list[Score]] = {}
    for score in scores:
        if score.value is None or not math.isfinite(score.value):
            continue
        if len(score.items) > 1 and is_mean_of(score.value, score.items):
            shared.setdefault((score.question, len(score.items)), []).append(score)
            continue
        values = np.array([score.value])
        if score.stderr is not None and math.isfinite(score.stderr) and resamples:
            draw = generator(seed, "normal", _question_order(score.question), _subject_order(score.subject))
            values = np.append(values, score.value + score.stderr * draw.standard_normal(resamples))
        drawn[score.subject, score.question] = values
    for (question, count), group in shared.items():
        draw = generator(seed, "items", _question_order(question), count)
        picked_RN = draw.multinomial(count - 1, np.full(count, 1 / count), size=resamples).astype(np.float64)
        items_NS = np.array([score.items for score in group], dtype=np.float64).T
        means_RS = picked_RN @ items_NS / (count - 1)
        for column, score in enumerate(group):
            drawn[score.subject, question] = np.append(score.value, means_RS[:, column])  # type: ignore[arg-type]
    return drawn
