"""One subject on one question, over its reference: what averages are made of. It averages nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evals.ratios import Floats, above_chance, ratio
from evals.studies.tables.sheet import UNASKED, Sheet, name
from evals.studies.tables.values import Question, Subject


@dataclass(frozen=True)
class Cell:
    """raw, ratio, corrected: as in `values.Summary`, with resamples; None: missing or undefined.

    records: ids of the score and of its reference.  holes: what is missing, in words.  undefined: what cannot
    be formed.
    """

    raw: Floats | None
    ratio: Floats | None
    corrected: Floats | None
    records: tuple[str, ...]
    holes: tuple[str, ...]
    undefined: tuple[str, ...]


def cell(sheet: Sheet, subject: Subject, question: Question) -> Cell:
    """The score over its reference: held-in that of the category's expert, held-out that of the base.

    Source: Yadav et al. 2024, arXiv 2410.03617, section "evaluation"; above chance is ours.
    """
    reference, called = _reference(sheet, subject, question)
    sources = (subject,) if reference is None else tuple(dict.fromkeys((subject, reference)))
    records = tuple(sheet.scores[one, question].id for one in sources if (one, question) in sheet.drawn)
    holes = [
        f"{question.task} of {name(one)}: {sheet.why(one, question)}"
        for one in sources
        if (one, question) not in sheet.drawn
    ]
    if reference is None:
        holes.append(f"{question.task} of {called}: {UNASKED}")
    raw = sheet.drawn.get((subject, question))
    if holes or raw is None or reference is None:
        return Cell(raw, None, None, records, tuple(holes), ())
    under = sheet.drawn[reference, question]
    over_reference = _defined(ratio(raw, under, question.higher_is_better))
    corrected = _defined(above_chance(raw, under, question.chance, question.higher_is_better))
    undefined = []
    if over_reference is None:
        undefined.append(f"ratio on {question.task} of {name(subject)}: it would divide by zero")
    if corrected is None:
        undefined.append(f"above chance on {question.task} of {name(subject)}: {_no_gain(question, called)}")
    return Cell(raw, over_reference, corrected, records, (), tuple(undefined))


def _reference(sheet: Sheet, subject: Subject, question: Question) -> tuple[Subject | None, str]:
    """(the reference, None where nobody scored it; what it is called)."""
    if question.role == "held-out":
        return sheet.bases.get(subject.base), f"base {subject.base}"
    called = f"expert {question.category} of {subject.base}"
    return sheet.experts.get((subject.base, question.category)), called


def _defined(drawn: Floats) -> Floats | None:
    """The figure, None where what was measured gives none; resamples may still lack it."""
    return drawn if math.isfinite(drawn[0]) else None


def _no_gain(question: Question, called: str) -> str:
    if not question.higher_is_better:
        return "less is better, so there is no gain"
    return "the task has no level of chance" if question.chance is None else f"{called} is not above chance"
