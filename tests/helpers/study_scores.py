"""Small studies with scores at random: what the arithmetic of tables is tried on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zlib import crc32

import numpy as np

from evals.studies.tables.values import Question, Role, Score, Subject

SIZES = {"1m": 1_000_000, "4m": 4_000_000}
QUALITIES = ("weak", "strong")
CATEGORIES = ("a", "b", "c")
OUTSIDE = ("x", "y")


def questions(categories: Sequence[str] = CATEGORIES, outside: Sequence[str] = OUTSIDE) -> list[Question]:
    """Two tasks a category: one with a level of chance, one without."""
    roles: list[tuple[Role, Sequence[str]]] = [("held-in", categories), ("held-out", outside)]
    return [
        Question(role, role, category, f"{category}{task}", "acc", True, chance)
        for role, names in roles
        for category in names
        for task, chance in (("1", 0.1), ("2", None))
    ]


def subjects(seeds: Sequence[int] = (1, 2), counts: Sequence[int] = (2, 3)) -> Iterator[Subject]:
    """Bases, experts, multitask models and merges by two methods."""
    for size, parameters in SIZES.items():
        for quality in QUALITIES:
            place = (f"{size}-{quality}", size, quality, parameters)
            yield Subject(*place, "base")
            for category in CATEGORIES:
                yield Subject(*place, "expert", experts=(category,))
            yield Subject(*place, "multitask", experts=CATEGORIES)
            for method in ("linear", "ties"):
                for count in counts:
                    for seed in seeds:
                        picked = np.random.default_rng(seed).permutation(CATEGORIES)[:count].tolist()
                        yield Subject(*place, "merge", method, count, seed, tuple(sorted(picked)))


def random_scores(
    draw_seed: int, asked: Sequence[Question] | None = None, items: int = 12, seeds: Sequence[int] = (1, 2)
) -> list[Score]:
    """Everybody on every question, each score from a stream of its own; four items or more are right.

    asked: the questions, `questions()` where not given. A merge is asked held-in about its own categories.
    """
    found = []
    for subject in subjects(seeds):
        for question in questions() if asked is None else asked:
            own = subject.kind != "merge" or question.category in subject.experts
            if question.role == "held-in" and not own:
                continue
            generator = np.random.default_rng(crc32(repr((draw_seed, subject, question)).encode()))
            right = (generator.random(items) < 0.6).astype(float)
            right[:4] = 1.0
            name = f"{subject.base}/{subject.kind}/{subject.experts}/{subject.method}/{subject.seed}"
            value, stderr = float(right.mean()), float(right.std(ddof=1) / items**0.5)
            one = Score(
                f"{name}/{question.task}", subject, question, value, stderr, items, tuple(right.tolist())
            )
            found.append(one)
    return found
