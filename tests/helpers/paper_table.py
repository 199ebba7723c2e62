"""The paper's own table (arXiv 2410.03617, Task Arithmetic, 2 and 8 experts) as a study's scores.

Experts and bases score 1, so that scores are the paper's normalised figures. No items, no errors, one seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from evals.studies.tables.values import Question, Score, Subject

SIZES = {"1B": 10**9, "8B": 8 * 10**9, "24B": 24 * 10**9, "64B": 64 * 10**9}
CATEGORIES = (
    "mc_qa", "extractive_qa", "closed_book_qa", "sentiment", "topic", "structure_to_text", "summarisation",
    "paraphrase",
)  # fmt: skip
OUTSIDE = ("completion", "nli", "coreference", "word_sense")
COUNTS = (2, 8)
#: (quality, size) -> held-in merge and multitask at 2 and at 8 experts, held-out merge, held-out multitask.
#: The paper reads 1.73 for PT 64B's multitask beside 2 experts; one model has one held-out score.
TABLE: Mapping[
    tuple[str, str], tuple[tuple[float, float], tuple[float, float], tuple[float, float], float]
] = {
    ("it", "1B"): ((0.91, 0.86), (0.97, 0.96), (1.03, 1.05), 1.11),
    ("it", "8B"): ((0.95, 0.88), (0.96, 0.96), (1.06, 1.03), 1.12),
    ("it", "24B"): ((0.96, 0.92), (0.99, 0.98), (1.05, 1.18), 1.18),
    ("it", "64B"): ((1.00, 0.93), (0.99, 0.99), (1.00, 1.09), 1.05),
    ("pt", "1B"): ((0.66, 0.39), (0.88, 0.87), (1.01, 1.07), 1.10),
    ("pt", "8B"): ((0.68, 0.42), (1.06, 1.06), (1.06, 1.00), 1.62),
    ("pt", "64B"): ((0.80, 0.67), (0.97, 0.96), (1.29, 1.35), 1.72),
}
#: Other methods at IT 64B with 8 experts: (held-in, held-out).
OTHERS = {"average": (0.93, 1.09), "dare_ties": (0.93, 1.09), "ties": (0.93, 1.10)}
ABSENT = "not in the paper's table"


def question(role: str, category: str) -> Question:
    """The one task of a category."""
    if role == "held-in":
        return Question("held-in", "in", category, category, "score", True, None)
    return Question("held-out", "out", category, category, "score", True, None)


def paper_scores() -> Iterator[Score]:
    """The table, with PT 24B, which it lacks, as missing scores."""
    for quality in ("it", "pt"):
        for size, parameters in SIZES.items():
            place = (f"{quality}-{size}", size, quality, parameters)
            yield from _all(Subject(*place, "base"), dict.fromkeys(OUTSIDE, 1.0), "held-out")
            for category in CATEGORIES:
                yield from _all(Subject(*place, "expert", experts=(category,)), {category: 1.0}, "held-in")
            for count in COUNTS:
                yield from _merge(Subject(*place, "merge", "task_arithmetic", count, 0, CATEGORIES[:count]))
            if (quality, size) in TABLE:
                yield from _multitask(Subject(*place, "multitask", experts=CATEGORIES))
    place = ("it-64B", "64B", "it", SIZES["64B"])
    for method, (held_in, held_out) in OTHERS.items():
        subject = Subject(*place, "merge", method, 8, 0, CATEGORIES)
        yield from _all(subject, dict.fromkeys(CATEGORIES, held_in), "held-in")
        yield from _all(subject, dict.fromkeys(OUTSIDE, held_out), "held-out")


def _merge(subject: Subject) -> Iterator[Score]:
    cell = TABLE.get((subject.quality, subject.size))
    index = COUNTS.index(subject.count)
    held_in, held_out = (None, None) if cell is None else (cell[0][index], cell[2][index])
    yield from _all(subject, dict.fromkeys(subject.experts, held_in), "held-in")
    yield from _all(subject, dict.fromkeys(OUTSIDE, held_out), "held-out")


def _multitask(subject: Subject) -> Iterator[Score]:
    """Its two figures held-in are means over two and over eight categories of one model's scores."""
    _, (two, eight), _, held_out = TABLE[subject.quality, subject.size]
    rest = (8 * eight - 2 * two) / 6
    values = {category: two if category in CATEGORIES[:2] else rest for category in CATEGORIES}
    yield from _all(subject, values, "held-in")
    yield from _all(subject, dict.fromkeys(OUTSIDE, held_out), "held-out")


def _all(subject: Subject, values: Mapping[str, float | None], role: str) -> Iterator[Score]:
    for category, value in values.items():
        name = (
            f"{subject.base} {subject.kind} {subject.method} {subject.count} {subject.experts[:1]} {category}"
        )
        why = ABSENT if value is None else ""
        yield Score("" if value is None else name, subject, question(role, category), value, why=why)
