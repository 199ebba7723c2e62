"""An invented study: scores by a formula, tables of them, made-up findings and fits. No model was asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from evals.studies.report.about import About, Failure, Origin, Tuned
from evals.studies.tables.summary import summarise
from evals.studies.tables.values import (
    Cost,
    Estimate,
    Finding,
    Fit,
    Judgement,
    Point,
    Question,
    Role,
    Scope,
    Score,
    Subject,
    Tables,
    Verdict,
)

METHODS = ("average", "task_arithmetic", "ties", "dare_ties")
CATEGORIES = ("sentiment", "topics", "meanings", "dates", "places", "diagnoses", "spelling", "units")
OUTSIDE = ("entailment", "coreference")
SIZES = {"1m": 1_000_000, "4m": 4_000_000, "16m": 16_000_000}
QUALITIES = ("weak", "strong")


def questions(tasks: int = 2) -> tuple[Question, ...]:
    """Held-in and held-out questions, so many tasks a category."""
    roles: tuple[tuple[Role, tuple[str, ...], float], ...]
    roles = (("held-in", CATEGORIES, 0.25), ("held-out", OUTSIDE, 0.5))
    return tuple(
        Question(role, role, category, f"{category}_{task}", "acc", True, chance)
        for role, categories, chance in roles
        for category in categories
        for task in range(tasks)
    )


def subjects(
    sizes: Sequence[str] = tuple(SIZES),
    counts: Sequence[int] = (2, 4, 8),
    seeds: Sequence[int] = (0, 1, 2),
    methods: Sequence[str] = METHODS,
) -> Iterator[Subject]:
    """Bases, their experts, multitask models and every merge."""
    for quality in QUALITIES:
        for size in sizes:
            place = (f"{size}-{quality}", size, quality, SIZES[size])
            yield Subject(*place, "base")
            for category in CATEGORIES:
                yield Subject(*place, "expert", experts=(category,))
            yield Subject(*place, "multitask", experts=CATEGORIES)
            for method in methods:
                for count in counts:
                    for seed in seeds:
                        picked = tuple(sorted(CATEGORIES, key=lambda c: hash_of(c, seed))[:count])
                        yield Subject(*place, "merge", method, count, seed, picked)


def hash_of(*values: object) -> float:
    """A number in [0, 1) that any values give, the same in every process."""
    import zlib

    return zlib.crc32(repr(values).encode()) / 2**32


def level(subject: Subject, question: Question) -> float:
    """The score that the formula gives: larger and stronger is better, more experts are worse."""
    size = list(SIZES).index(subject.size) / 2
    strong = subject.quality == "strong"
    noise = 0.03 * (hash_of(subject.base, subject.method, subject.count, subject.seed, question.task) - 0.5)
    base = 0.42 + 0.06 * size + 0.05 * strong
    expert = 0.78 + 0.05 * size + 0.03 * strong
    if subject.kind == "base":
        return base + noise
    if subject.kind == "expert":
        return (expert if question.category in subject.experts else base) + noise
    if question.role == "held-out":
        return base * (1.06 if subject.kind == "multitask" else 1.03 - 0.002 * subject.count) + noise
    if subject.kind == "multitask":
        return expert * 0.97 + noise
    method = 0.02 * METHODS.index(subject.method) * (1 - size)
    kept = 0.62 + 0.1 * size + 0.15 * strong + 0.5 / (subject.count + 1) * (1 - 0.4 * strong) + method
    return expert * min(kept, 1.0) + noise


def scores(
    asked: Sequence[Subject], about: Sequence[Question], missing: Mapping[str, str] | None = None
) -> tuple[Score, ...]:
    """Every subject on every question. missing: label part ("weak/ties") -> why it has no score."""
    found: list[Score] = []
    for subject in asked:
        name = f"{subject.base}/{subject.kind}/{subject.method}/{subject.count}/{subject.seed}"
        why = next((text for part, text in (missing or {}).items() if part in name), "")
        for question in about:
            id = f"{int(hash_of(name, subject.experts, question.task) * 2**32):08x}{len(found):024x}"
            if why:
                found.append(Score("", subject, question, None, why=why))
                continue
            value = level(subject, question)
            items = tuple(float(item < value * 8) for item in range(8))
            found.append(Score(id, subject, question, value, 0.02, 8, items))
    return tuple(found)


def findings() -> tuple[Finding, ...]:
    """Five claims with every verdict among them, one with nothing to show."""
    claims = (
        "Strong bases merge better",
        "Larger models merge better",
        "Merging improves generalisation",
        "Larger models tolerate more experts",
        "Methods become alike at scale",
    )
    verdicts: tuple[Verdict, ...] = (
        "supported",
        "supported",
        "the opposite is seen",
        "no larger difference",
        "cannot tell",
    )
    rows = (("1m, 8 experts", Estimate(0.17, 0.01, 0.15, 0.19), None), ("4m, 8 experts", None, None))
    return tuple(
        _finding(number, claim, verdict, rows)
        for number, (claim, verdict) in enumerate(zip(claims, verdicts, strict=True), start=1)
    )


def _finding(
    number: int,
    claim: str,
    verdict: Verdict,
    rows: tuple[tuple[str, Estimate, None] | tuple[str, None, None], ...],
) -> Finding:
    """One claim with its two scopes; without an effect where it cannot tell."""
    effect = None if verdict == "cannot tell" else Estimate(0.171, None, 0.142, 0.198)
    scopes: tuple[Scope, ...] = ("for these models", "for models like these")
    return Finding(
        number,
        claim,
        "paired difference over methods and counts",
        effect,
        "held-in share, strong − weak",
        tuple(Judgement(scope, effect, 0.0004, 0.002, verdict, "so") for scope in scopes) if effect else (),
        verdict,
        "the interval excludes 0" if effect else "one size only",
        "IT over PT by 0.26–0.47 at 8 experts",
        "share of the gain",
        ("ratio", effect, verdict) if effect else None,
        rows,
    )


def fits(role: Role = "held-in") -> tuple[Fit, ...]:
    """A law a quality and method, one of them without anything to fit."""
    return tuple(_fit(quality, method, role) for quality in QUALITIES for method in METHODS)


def _fit(quality: str, method: str, role: Role) -> Fit:
    if (quality, method) == ("strong", "dare_ties"):
        return Fit(quality, method, role, {}, {}, None, None, (), "fewer than three numbers of experts")
    limit = {size: 0.6 + 0.1 * n + 0.15 * (quality == "strong") for n, size in enumerate((*SIZES, "64m"))}
    points = []
    for n, (size, bottom) in enumerate(limit.items()):
        for count in (2, 4, 6, 8, 12):
            seen = size != "64m" and count in (2, 4, 8)
            value = bottom + 0.4 / (count + 1)
            observed = value + 0.01 * (hash_of(size, count, method) - 0.5) if seen else None
            point = Point(size, 4**n * 1_000_000, count, observed, value, value - 0.015, value + 0.015, False)
            points.append(point)
            if seen and count == 8:
                points.append(replace(point, predicted=value + 0.01, held=True, inside=True))
    around_limit = {size: Estimate(value, None, value - 0.02, value + 0.02) for size, value in limit.items()}
    amplitude = {size: Estimate(0.4, None, 0.3, 0.5) for size in limit}
    return Fit(
        quality, method, role, around_limit, amplitude, Estimate(1.0, None, 0.4, 2.2), 0.006, tuple(points)
    )


def tables(
    *,
    sizes: Sequence[str] = tuple(SIZES),
    counts: Sequence[int] = (2, 4, 8),
    seeds: Sequence[int] = (0, 1, 2),
    methods: Sequence[str] = METHODS,
    missing: Mapping[str, str] | None = None,
) -> Tables:
    """The invented study whole, or as much of it as is asked for."""
    asked = questions()
    found = scores(tuple(subjects(sizes, counts, seeds, methods)), asked, missing)
    costs = tuple(
        Cost(kind, size, 12 * (n + 1), 31.5 * 4**n, 90_000_000 * 4**n, 310_000_000 * 4**n)
        for n, size in enumerate(sizes)
        for kind in ("load", "merge", "score")
    )
    return Tables(asked, found, summarise(found, 20), findings(), fits(), costs)


def about(**changed: object) -> About:
    """What is said beside invented tables."""
    values: dict[str, object] = {
        "study": "miniature",
        "facts": (
            ("bases", "three sizes, weak and strong"),
            ("subsets", "the same everywhere"),
        ),
        "config": "name: miniature\nmethods: [average, ties]\n",
        "tuning": (
            Tuned("1m-weak", "ties", 4, "density=0.2", 0.71, True),
            Tuned("1m-weak", "ties", 4, "density=0.5", 0.69, False),
            Tuned("1m-weak", "ties", 4, "density=0.9", None, False),
        ),
        "origins": (Origin("base 1m-weak", "family/bases/1m-weak", "3f" * 16),),
        "versions": {"mergescale": "0.1.0", "torch": "2.9.0"},
        "failures": (),
        "finished": True,
        "scores_done": 100,
        "scores_total": 100,
        "qualities": QUALITIES,
        "methods": METHODS,
    }
    return About(**(values | changed))  # type: ignore[arg-type]


def failure(what: str = "16m-weak/ties/8 experts/seed 1", why: str = "a score is NaN") -> Failure:
    """One failed unit."""
    return Failure(what, why)
