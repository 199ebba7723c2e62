"""Scores relative to a reference: held-in to the category's expert, held-out to the base. Pure arithmetic.

Definitions (Yadav et al. 2024, arXiv 2410.03617): held-in is the score over that of the expert trained on the
task's category, held-out the score over that of the base; averages go inside a category first, then over
categories. A cell that is missing stays missing: an average that would need it is missing too, and says so.
Where less is better (perplexity) the ratio is turned over, so that more than 1 is always better. The share of
the reference's gain over guessing is formed of averages, as in a study's tables (`ratios.share_of_gain`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evals import ratios
from evals.record import Record


@dataclass(frozen=True)
class Relative:
    """One model on one task, relative to its reference. None: missing or not defined.

    score, reference_score, chance: as measured; chance is None too where less is better.
    ratio: score / reference (turned over where less is better).  ratio_stderr: its standard error.
    corrected: (score - chance) / (reference - chance); None too when the reference is not above chance.
    """

    label: str
    suite: str
    role: str
    category: str
    task: str
    reference: str | None
    ratio: float | None = None
    ratio_stderr: float | None = None
    corrected: float | None = None
    score: float | None = None
    reference_score: float | None = None
    chance: float | None = None


@dataclass(frozen=True)
class Average:
    """A model's mean over the categories of one role. `missing` names the tasks that made it impossible.

    corrected: mean score less mean chance, over the same of the references: it is not the mean of the tasks'.
    """

    label: str
    role: str
    by_category: Mapping[str, float | None]
    ratio: float | None
    ratio_stderr: float | None
    corrected: float | None
    missing: tuple[str, ...]


def relative(record: Record | None, reference: Record | None, cell: Relative) -> Relative:
    """Fill a cell from a record and its reference; either may be missing, then the cell stays as it is."""
    if record is None or reference is None:
        return cell
    ratio, stderr = _ratio(record, reference)
    filled = replace(
        cell,
        ratio=ratio,
        ratio_stderr=stderr,
        score=record.value,
        reference_score=reference.value,
        chance=record.chance if record.higher_is_better else None,
    )
    return replace(filled, corrected=_corrected([[filled]]))


def _ratio(record: Record, reference: Record) -> tuple[float | None, float | None]:
    """(ratio, standard error by the delta method). Scores on the same items are compared item by item."""
    figure = ratios.ratio(record.value, reference.value, record.higher_is_better).item()
    if math.isnan(figure):
        return None, None
    if not record.higher_is_better:
        record, reference = reference, record
    if _paired(record, reference):
        # The ratio's error, to first order: that of mean(score_i - ratio * reference_i), over the reference.
        rests = [ours - figure * theirs for ours, theirs in zip(record.items, reference.items, strict=True)]
        spread = math.sqrt(math.fsum(rest**2 for rest in rests) / (len(rests) - 1) / len(rests))
        return figure, spread / abs(reference.value)
    if record.stderr is None or reference.stderr is None:
        return figure, None
    return figure, math.hypot(record.stderr, figure * reference.stderr) / abs(reference.value)


def _paired(record: Record, reference: Record) -> bool:
    """Whether both are means over the very same items."""
    same = (record.task_digest, record.limit, record.shots) == (
        reference.task_digest,
        reference.limit,
        reference.shots,
    )
    means = (ratios.is_mean_of(one.value, one.items) for one in (record, reference))
    return same and len(record.items) == len(reference.items) > 1 and all(means)


def _corrected(categories: Sequence[Sequence[Relative]]) -> float | None:
    """The share of the references' gain over guessing, None where it is not defined or a score is missing."""
    score, reference, chance = (
        ratios.mean_by_category([getattr(cell, field) for cell in group] for group in categories)
        for field in ("score", "reference_score", "chance")
    )
    if score is None or reference is None or chance is None:
        return None
    share = ratios.share_of_gain(np.array([score]), np.array([reference]), chance)
    return None if share is None else float(share[0])


def normalise(
    records: Sequence[Record],
    base: str | None = None,
    experts: Mapping[str, str] | None = None,
    counted: Mapping[str, Iterable[str]] | None = None,
) -> list[Relative]:
    """Every model on every task relative to its reference, in order of appearance.

    base: the label of the base, the reference of held-out tasks.  experts: category -> label of its expert,
    the reference of held-in tasks.  counted: label -> the held-in categories whose experts are in that merge,
    where known; its other held-in categories are left out. Tasks without a reference give missing cells.
    Guessers are no models: they are left out.
    """
    records = [one for one in records if not one.is_baseline]
    table = {(one.label, one.suite, one.task): one for one in records}
    columns = {(one.suite, one.task): one for one in records}
    cells = []
    for label in dict.fromkeys(one.label for one in records):
        for (suite, task), any_record in columns.items():
            role, category = any_record.role, any_record.category
            only = (counted or {}).get(label)
            if role == "held-in" and only is not None and category not in set(only):
                continue
            source = (experts or {}).get(category) if role == "held-in" else base
            cell = Relative(label, suite, role, category, task, source)
            reference = table.get((source, suite, task)) if source is not None else None
            cells.append(relative(table.get((label, suite, task)), reference, cell))
    return cells


def averages(cells: Sequence[Relative]) -> list[Average]:
    """The mean of each model and role, inside a category and then over categories; never over a gap."""
    groups: dict[tuple[str, str], list[Relative]] = {}
    for cell in cells:
        groups.setdefault((cell.label, cell.role), []).append(cell)
    return [_average(label, role, group) for (label, role), group in groups.items()]


def _average(label: str, role: str, cells: list[Relative]) -> Average:
    names = dict.fromkeys(cell.category for cell in cells)
    categories = {name: [cell for cell in cells if cell.category == name] for name in names}
    by_category = {name: ratios.mean([cell.ratio for cell in group]) for name, group in categories.items()}
    errors = [_mean_error([cell.ratio_stderr for cell in group]) for group in categories.values()]
    ratio = ratios.mean(list(by_category.values()))
    missing = tuple(cell.task for cell in cells if cell.ratio is None)
    error = _mean_error(errors) if ratio is not None else None
    corrected = _corrected(list(categories.values()))
    return Average(label, role, by_category, ratio, error, corrected, missing)


def _mean_error(errors: Sequence[float | None]) -> float | None:
    """Standard error of a mean of independent values, or None when any is missing."""
    there = [error for error in errors if error is not None]
    return math.hypot(*there) / len(there) if there and len(there) == len(errors) else None
