"""Scores averaged as the paper does: inside a category, over categories, over seeds; never over a gap.

All figures are arrays of resamples (see sheet.py). Summaries, findings and fits are read from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from evals.ratios import Floats, mean
from evals.studies.tables.cells import Cell, cell
from evals.studies.tables.sheet import KINDS, Sheet, name
from evals.studies.tables.values import Role, Subject

ROLES: tuple[Role, ...] = ("held-in", "held-out")


@dataclass(frozen=True)
class Figures:
    """raw, ratio, corrected over categories; the ratio of each; where they come from and what they lack."""

    raw: Floats | None
    ratio: Floats | None
    corrected: Floats | None
    by_category: Mapping[str, Floats | None]
    records: tuple[str, ...]
    holes: tuple[str, ...]
    undefined: tuple[str, ...]


@dataclass(frozen=True)
class Average:
    """Subjects alike but for their seed, in one role. None: missing or undefined, see `values.Summary`.

    experts: seed -> the held-in categories that count for it.  seeds: seed -> its figures.  all: their mean.
    """

    subject: Subject
    role: Role
    experts: Mapping[int, tuple[str, ...]]
    seeds: Mapping[int, Figures]
    all: Figures

    @property
    def cell(self) -> tuple[str, str, str, int]:
        """Where it stands in the grid: size, quality, method, count."""
        return self.subject.size, self.subject.quality, self.subject.method, self.subject.count


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
                counted = {one.seed: (one, one.experts) for one in subjects}
            else:
                counted = {0: (subjects[0], everything)}
            rows.append(_average(sheet, group, role, counted))
            if group.kind in ("base", "multitask"):
                rows += _beside_merges(sheet, subjects[0], role)
        rows += _best_experts([row for row in rows if row.role == role and row.subject.kind == "expert"])
    sizes = list(sheet.sizes)
    return tuple(sorted(rows, key=lambda row: _row_order(row, sizes)))


def _counted(sheet: Sheet, role: Role) -> tuple[str, ...]:
    """The categories of a role that count for models that are no merge: held-in those of the study's experts.

    Where no expert is compared with, they are all.
    """
    known = {category for _, category in sheet.experts}
    every = tuple(sheet.categories[role])
    return tuple(one for one in every if one in known) if role == "held-in" and known else every


def _row_order(row: Average, sizes: Sequence[str]) -> tuple[object, ...]:
    one = row.subject
    place = (sizes.index(one.size), one.quality, one.base, KINDS.index(one.kind))
    return (*place, one.method, one.count, one.experts, ROLES.index(row.role))


def _groups(subjects: Iterable[Subject]) -> dict[Subject, list[Subject]]:
    """Subjects that are alike but for seed and, of merges, experts."""
    found: dict[Subject, list[Subject]] = {}
    for subject in subjects:
        own = subject.experts if subject.kind == "expert" else ()
        found.setdefault(replace(subject, seed=0, experts=own), []).append(subject)
    return found


def _beside_merges(sheet: Sheet, model: Subject, role: Role) -> list[Average]:
    """A model that is no merge on the categories of merges of k experts, for every k and its seeds.

    Seeds that draw the same experts are one: nothing of such a model differs between them.
    """
    counted: dict[int, dict[int, tuple[Subject, tuple[str, ...]]]] = {}
    for one in sheet.subjects:
        if one.kind == "merge" and one.base == model.base:
            counted.setdefault(one.count, {})[one.seed] = (model, tuple(sorted(one.experts)))
    group = replace(model, seed=0, experts=())
    found = []
    for count, seeds in counted.items():
        alike = len({names for _, names in seeds.values()}) == 1
        own = {seed: seeds[seed] for seed in ([min(seeds)] if alike else seeds)}
        found.append(_average(sheet, replace(group, count=count), role, own))
    return found


def _best_experts(experts: Sequence[Average]) -> list[Average]:
    """One row a base: a copy of its best expert's."""
    found = []
    for base in sorted({row.subject.base for row in experts}):
        rows = sorted(
            (row for row in experts if row.subject.base == base), key=lambda row: row.subject.experts
        )
        lacking = [row.all for row in rows if row.all.ratio is None]
        best = rows[0] if lacking else max(rows, key=lambda row: _measured(row.all.ratio))
        if lacking:
            holes, undefined = _lines(lacking, "holes"), _lines(lacking, "undefined")
            nothing = Figures(None, None, None, dict.fromkeys(best.all.by_category), (), holes, undefined)
            best = replace(best, seeds={0: nothing}, all=nothing)
        chosen = () if lacking else best.subject.experts
        found.append(replace(best, subject=replace(best.subject, kind="best expert", experts=chosen)))
    return found


def _measured(drawn: Floats | None) -> float:
    return float("-inf") if drawn is None else float(drawn[0])


def _average(
    sheet: Sheet, group: Subject, role: Role, counted: Mapping[int, tuple[Subject, tuple[str, ...]]]
) -> Average:
    """counted: seed -> the subject and the held-in categories that count."""
    experts = {seed: tuple(sorted(names)) for seed, (_, names) in sorted(counted.items())}
    seeds = {}
    for seed, names in experts.items():
        seeds[seed] = _figures(sheet, counted[seed][0], role, names if role == "held-in" else ())
    return Average(group, role, experts, seeds, _over_seeds(sheet, seeds))


def _figures(sheet: Sheet, subject: Subject, role: Role, categories: Sequence[str]) -> Figures:
    """One subject on the categories named, on all where none is."""
    asked = sheet.categories[role]
    names = categories or tuple(asked)
    cells: dict[str, list[Cell]] = {
        category: [cell(sheet, subject, question) for question in asked.get(category, ())]
        for category in names
    }
    flat = [one for group in cells.values() for one in group]
    by_category = {category: mean([one.ratio for one in group]) for category, group in cells.items()}
    raw = mean([mean([one.raw for one in group]) for group in cells.values()])
    undefined = _lines(flat, "undefined")
    if len({question.higher_is_better for category in names for question in asked.get(category, ())}) > 1:
        raw = None
        undefined += (f"raw score of {name(subject)}: of some tasks more is better, of others less",)
    unasked = tuple(f"{category} of {name(subject)}: no task" for category in names if category not in asked)
    return Figures(
        raw,
        mean(list(by_category.values())),
        mean([mean([one.corrected for one in group]) for group in cells.values()]),
        by_category,
        _lines(flat, "records"),
        _lines(flat, "holes") + unasked,
        undefined,
    )


def _over_seeds(sheet: Sheet, seeds: Mapping[int, Figures]) -> Figures:
    """The mean over seeds; a category's is over the seeds in which it counts."""
    ones = list(seeds.values())
    by_category = {}
    for category in sorted({category for one in ones for category in one.by_category}):
        there = {
            seed: one.by_category[category] for seed, one in seeds.items() if category in one.by_category
        }
        by_category[category] = mean_over_seeds(sheet, there)
    return Figures(
        mean_over_seeds(sheet, {seed: one.raw for seed, one in seeds.items()}),
        mean_over_seeds(sheet, {seed: one.ratio for seed, one in seeds.items()}),
        mean_over_seeds(sheet, {seed: one.corrected for seed, one in seeds.items()}),
        by_category,
        _lines(ones, "records"),
        _lines(ones, "holes"),
        _lines(ones, "undefined"),
    )


def mean_over_seeds(sheet: Sheet, by_seed: Mapping[int, Floats | None]) -> Floats | None:
    """The mean over seeds with the seeds resampled (`Sheet.over_seeds`), None where any is missing."""
    there = {seed: drawn for seed, drawn in by_seed.items() if drawn is not None}
    return sheet.over_seeds(there) if there and len(there) == len(by_seed) else None


def _lines(parts: Iterable[Cell | Figures], field: str) -> tuple[str, ...]:
    """What all parts say in a field, each line once."""
    return tuple(dict.fromkeys(line for part in parts for line in getattr(part, field)))
