"""Scores averaged as the paper does: inside a category, over categories, over seeds; never over a gap.

All figures carry their resamples (see sheet.py and noise.py). Summaries, findings and fits read from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from evals.ratios import Floats, mean, mean_by_category, share_of_gain
from evals.studies.tables.cells import Cell, cell
from evals.studies.tables.noise import Draw, Noisy, over_draws
from evals.studies.tables.sheet import KINDS, Sheet, name
from evals.studies.tables.values import Question, Role, Subject

ROLES: tuple[Role, ...] = ("held-in", "held-out")
#: What a figure can be: see `values.Summary`; pooled is the mean score over the reference's mean score.
Measure = Literal["raw", "ratio", "corrected", "pooled"]
#: A reference that is fewer standard errors from zero than this gives its quotient no interval.
TOLD = 2.0
#: Why a share of the reference's gain cannot be formed where all levels of chance are known.
NO_GAIN: dict[Role, str] = {
    "held-in": "its experts are not above chance",
    "held-out": "its base is not above chance",
}


@dataclass(frozen=True)
class Figures:
    """One draw's figures over categories; the ratio of each; where they come from and what they lack."""

    raw: Floats | None
    ratio: Floats | None
    corrected: Floats | None
    pooled: Floats | None
    by_category: Mapping[str, Floats | None]
    records: tuple[str, ...]
    holes: tuple[str, ...]
    undefined: tuple[str, ...]

    def of(self, measure: Measure) -> Floats | None:
        """The figure of a measure."""
        return {"raw": self.raw, "ratio": self.ratio, "corrected": self.corrected, "pooled": self.pooled}[
            measure
        ]


@dataclass(frozen=True)
class Average:
    """Subjects alike but for their seed and run, in one role.

    experts: seed -> the held-in categories that count for it.  draws: (run, seed) -> its figures.
    by_category: category -> the mean ratio over the draws in which it counts, as measured.
    """

    subject: Subject
    role: Role
    experts: Mapping[int, tuple[str, ...]]
    draws: Mapping[Draw, Figures]
    draw_seed: int

    @property
    def cell(self) -> tuple[str, str, str, int]:
        """Where it stands in the grid: size, quality, method, count."""
        return self.subject.size, self.subject.quality, self.subject.method, self.subject.count

    def over(self, measure: Measure, seeds: Iterable[int] | None = None) -> Noisy | None:
        """The mean over seeds, those named or all, and runs; None where any lacks the figure."""
        own = set(self.experts) if seeds is None else set(seeds)
        there = {draw: one.of(measure) for draw, one in self.draws.items() if draw[1] in own}
        whole = {draw: drawn for draw, drawn in there.items() if drawn is not None}
        if not whole or len(whole) < len(there):
            return None
        return over_draws(self.subject.base, whole, self.draw_seed)

    def lines(self, field: Literal["records", "holes", "undefined"]) -> tuple[str, ...]:
        """What all draws say in a field, each line once."""
        return _lines(self.draws.values(), field)

    @property
    def by_category(self) -> dict[str, float | None]:
        """Category -> ratio as measured, None where any draw lacks it."""
        found: dict[str, list[Floats | None]] = {}
        for one in self.draws.values():
            for category, drawn in one.by_category.items():
                found.setdefault(category, []).append(drawn)
        means = {category: mean(drawn) for category, drawn in sorted(found.items())}
        return {category: None if one is None else float(one[0]) for category, one in means.items()}


def averages(sheet: Sheet) -> tuple[Average, ...]:
    """Every row of the study's tables, in both roles: bases, experts, the best of them, multitask, merges.

    Held-in, a merge counts the categories of its experts, all others count all that the study has experts of,
    there or missing; what is scored beyond those counts in no average. A multitask model has further
    rows that count only the categories of merges of k experts, averaged over the same subsets: what the paper
    sets beside those merges. So has a base: what merges start from. Best expert: of the experts of a base the
    one whose mean ratio over all categories of the role is highest (ties: first by name); a hole where any of
    them lacks it, as the missing one might be best. It is picked on the very scores it is shown with, which
    flatters it.
    """
    rows: list[Average] = []
    for role in ROLES:
        everything = _counted(sheet, role)
        for group, subjects in _groups(sheet.subjects).items():
            if not everything:
                continue
            if group.kind == "merge":
                counted = {(one.run, one.seed): (one, one.experts) for one in subjects}
            else:
                counted = {(run, 0): (one, everything) for run, one in _runs(sheet, subjects, role).items()}
            rows.append(_average(sheet, group, role, counted))
            if group.kind in ("base", "multitask"):
                rows += _beside_merges(sheet, group, _runs(sheet, subjects, role), role)
        rows += _best_experts([row for row in rows if row.role == role and row.subject.kind == "expert"])
    sizes = list(sheet.sizes)
    return tuple(sorted(rows, key=lambda row: _row_order(row, sizes)))


def _runs(sheet: Sheet, subjects: Sequence[Subject], role: Role) -> dict[int, Subject]:
    """Run -> its model. A base is the same in all: held-in it is set over the experts of each run."""
    if subjects[0].kind == "base" and role == "held-in":
        return dict.fromkeys(sheet.runs[subjects[0].base], subjects[0])
    return {one.run: one for one in subjects}


def _counted(sheet: Sheet, role: Role) -> tuple[str, ...]:
    """The categories of a role that count for models that are no merge: held-in those of the study's experts.

    Where no expert is compared with, they are all.
    """
    known = {category for _, category, _ in sheet.experts}
    every = tuple(sheet.categories[role])
    return tuple(one for one in every if one in known) if role == "held-in" and known else every


def _row_order(row: Average, sizes: Sequence[str]) -> tuple[object, ...]:
    one = row.subject
    place = (sizes.index(one.size), one.quality, one.base, KINDS.index(one.kind))
    return (*place, one.method, one.count, one.experts, ROLES.index(row.role))


def _groups(subjects: Iterable[Subject]) -> dict[Subject, list[Subject]]:
    """Subjects that are alike but for seed, run and, of merges, experts."""
    found: dict[Subject, list[Subject]] = {}
    for subject in subjects:
        own = subject.experts if subject.kind == "expert" else ()
        found.setdefault(replace(subject, seed=0, run=0, experts=own), []).append(subject)
    return found


def _beside_merges(sheet: Sheet, group: Subject, runs: Mapping[int, Subject], role: Role) -> list[Average]:
    """A model that is no merge on the categories of merges of k experts, for every k and its seeds.

    Seeds that draw the same experts are one: nothing of such a model differs between them.
    """
    counted: dict[int, dict[int, tuple[str, ...]]] = {}
    for one in sheet.subjects:
        if one.kind == "merge" and one.base == group.base:
            counted.setdefault(one.count, {})[one.seed] = tuple(sorted(one.experts))
    found = []
    for count, seeds in counted.items():
        alike = len(set(seeds.values())) == 1
        own = {
            (run, seed): (model, seeds[seed])
            for run, model in runs.items()
            for seed in ([min(seeds)] if alike else seeds)
        }
        found.append(_average(sheet, replace(group, experts=(), count=count), role, own))
    return found


def _best_experts(experts: Sequence[Average]) -> list[Average]:
    """One row a base: a copy of its best expert's."""
    found = []
    for base in sorted({row.subject.base for row in experts}):
        rows = sorted(
            (row for row in experts if row.subject.base == base), key=lambda row: row.subject.experts
        )
        lacking = [row for row in rows if row.over("ratio") is None]
        best = rows[0] if lacking else max(rows, key=_measured_ratio)
        if lacking:
            holes, undefined = (_lines(lacking, field) for field in ("holes", "undefined"))
            categories = dict.fromkeys(best.by_category)
            nothing = Figures(None, None, None, None, categories, (), holes, undefined)
            best = replace(best, draws={(0, 0): nothing})
        chosen = () if lacking else best.subject.experts
        found.append(replace(best, subject=replace(best.subject, kind="best expert", experts=chosen)))
    return found


def _measured_ratio(row: Average) -> float:
    drawn = row.over("ratio")
    return float("-inf") if drawn is None else float(drawn.items[0])


def _average(
    sheet: Sheet, group: Subject, role: Role, counted: Mapping[Draw, tuple[Subject, tuple[str, ...]]]
) -> Average:
    """counted: (run, seed) -> the subject and the held-in categories that count."""
    experts = {seed: tuple(sorted(names)) for (_, seed), (_, names) in sorted(counted.items())}
    draws = {}
    for draw, (subject, _) in sorted(counted.items()):
        names = experts[draw[1]] if role == "held-in" else ()
        draws[draw] = _figures(sheet, subject, role, names, draw[0])
    return Average(group, role, experts, draws, sheet.seed)


def _figures(sheet: Sheet, subject: Subject, role: Role, categories: Sequence[str], run: int) -> Figures:
    """One subject on the categories named, on all where none is, over the experts of a run."""
    asked = sheet.categories[role]
    names = categories or tuple(asked)
    cells: dict[str, list[Cell]] = {
        category: [cell(sheet, subject, question, run) for question in asked.get(category, ())]
        for category in names
    }
    flat = [one for group in cells.values() for one in group]
    questions = {category: asked.get(category, ()) for category in names}
    by_category = {category: mean([one.ratio for one in group]) for category, group in cells.items()}
    raw = mean_by_category([one.raw for one in group] for group in cells.values())
    reference = mean_by_category([one.reference for one in group] for group in cells.values())
    undefined = list(_lines(flat, "undefined"))
    directions = {question.higher_is_better for group in questions.values() for question in group}
    if len(directions) > 1:
        raw = None
        undefined.append(f"raw score of {name(subject)}: of some tasks more is better, of others less")
    corrected = pooled = None
    if raw is not None and reference is not None:
        chance, why = _chance(questions)
        corrected = None if chance is None else _share(raw, reference, chance)
        pooled = _share(raw, reference, 0.0) if directions == {True} else None
        if corrected is None:
            undefined.append(f"above chance of {name(subject)}: {why or NO_GAIN[role]}")
    unasked = tuple(f"{category} of {name(subject)}: no task" for category in names if category not in asked)
    return Figures(
        raw,
        mean(list(by_category.values())),
        corrected,
        pooled,
        by_category,
        _lines(flat, "records"),
        _lines(flat, "holes") + unasked,
        tuple(undefined),
    )


def chance_is_known(questions: Iterable[Question]) -> bool:
    """Whether gains over guessing can be formed: every task has a level of chance, and more is better."""
    return all(question.chance is not None and question.higher_is_better for question in questions)


def _chance(categories: Mapping[str, Sequence[Question]]) -> tuple[float | None, str]:
    """(the level of chance averaged as scores are, None where there is none; why)."""
    flat = [question for group in categories.values() for question in group]
    if odd := [question.task for question in flat if not question.higher_is_better]:
        return None, f"less is better on {', '.join(odd)}"
    if odd := [question.task for question in flat if question.chance is None]:
        return None, f"no level of chance is known for {', '.join(odd)}"
    return mean_by_category([question.chance for question in group] for group in categories.values()), ""


def _share(score: Floats, reference: Floats, chance: float) -> Floats | None:
    """The share of the reference's gain, without resamples where that might not be above zero."""
    drawn = share_of_gain(score, reference, chance)
    if drawn is not None and drawn.size > 1 and reference.size > 1:
        told = TOLD * float(reference[1:].std())
        drawn[1:] = drawn[1:] if reference[0] - chance >= told else np.nan
    return drawn


def _lines(
    parts: Iterable[Cell | Figures | Average], field: Literal["records", "holes", "undefined"]
) -> tuple[str, ...]:
    """What all parts say in a field, each line once."""
    said = (part.lines(field) if isinstance(part, Average) else getattr(part, field) for part in parts)
    return tuple(dict.fromkeys(line for lines in said for line in lines))
