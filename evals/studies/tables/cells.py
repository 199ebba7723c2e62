"""One subject on one question, over its reference: what averages are made of. It averages nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evals.ratios import Floats, quotient
from evals.studies.tables.sheet import UNASKED, Sheet, name
from evals.studies.tables.values import Question, Subject


@dataclass(frozen=True)
class Cell:
    """A score and its reference's with resamples, and the ratio of both; None: missing or undefined.

    ratio: turned over where less is better.  records: ids of the score and of its reference.
    holes: what is missing, in words.  undefined: what cannot be formed.
    """

    raw: Floats | None
    reference: Floats | None
    ratio: Floats | None
    records: tuple[str, ...]
    holes: tuple[str, ...]
    undefined: tuple[str, ...]


def cell(sheet: Sheet, subject: Subject, question: Question, run: int) -> Cell:
    """The score over its reference: held-in that of the category's expert, held-out that of the base.

    run: which of the category's experts it is, where they were trained more than once.
    Source: Yadav et al. 2024, arXiv 2410.03617, section "evaluation".
    """
    reference, called = _reference(sheet, subject, question, run)
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
    over_reference = quotient(raw, under) if question.higher_is_better else quotient(under, raw)
    if math.isfinite(over_reference[0]):
        return Cell(raw, under, over_reference, records, (), ())
    why = f"ratio on {question.task} of {name(subject)}: it would divide by zero"
    return Cell(raw, under, None, records, (), (why,))


def _reference(sheet: Sheet, subject: Subject, question: Question, run: int) -> tuple[Subject | None, str]:
    """(the reference, None where nobody scored it; what it is called)."""
    if question.role == "held-out":
        return sheet.bases.get(subject.base), f"base {subject.base}"
    called = f"expert {question.category} of {subject.base}" + (f"/run {run}" if run else "")
    return sheet.experts.get((subject.base, question.category, run)), called
