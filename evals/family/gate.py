"""Which experts are worth having: better than their base, than guessing and than one constant answer.

The gate looks at validation rows, which nothing was trained on and no suite scores, by more than two standard
errors. It reads records and rows; it runs nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from evals.family.rows import read_rows
from evals.record import Record
from evals.stderr import mean_stderr
from evals.task import Task

STANDARD_ERRORS = 2.0
SUITE = "validation"
_CHOICE: dict[str, Any] = {
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "choices",
    "doc_to_target": "label",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
#: Free answers are judged by their log-likelihood: no text is generated.
_ANSWER: dict[str, Any] = {
    "output_type": "loglikelihood",
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{' ' + (answer if answer is defined else choices[label])}}",
    "metric_list": [{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}],
}


@dataclass(frozen=True)
class Check:
    """The validation rows of one task: how a model is scored on them, and what guessing scores.

    majority, chance: accuracy of the best constant answer and of blind guessing; None for free answers.
    """

    task: Task
    majority: float | None
    chance: float | None


@dataclass(frozen=True)
class Verdict:
    """Whether an expert passed, and the figures of it in one line."""

    passed: bool
    why: str


def make_check(task: Task, file: Path) -> Check:
    """The check of a suite's task on its validation rows."""
    rows = read_rows(file)
    choices = all(len(row.get("choices", ())) > 1 for row in rows)  # some sets list right answers only
    held = replace(
        task,
        suite=SUITE,
        definition=_CHOICE if choices else _ANSWER,
        data=(("test", (str(file.resolve()),)),),
        shots=0,
        limit=None,
        metric="acc" if choices else "perplexity",
        filter="none",
        higher_is_better=choices,
        chance=fmean(1 / len(row["choices"]) for row in rows) if choices else None,
        where=str(file),
    )
    return Check(held, _majority(rows) if choices else None, held.chance)


def _majority(rows: Sequence[Mapping[str, Any]]) -> float:
    """The share of rows that the best constant answer gets right: one place in the list, or one text."""
    places = Counter(row["label"] for row in rows)
    texts = Counter(row["choices"][row["label"]] for row in rows)
    return max(max(places.values()), max(texts.values())) / len(rows)


def judge(checks: Sequence[Check], base: Mapping[str, Record], expert: Mapping[str, Record]) -> Verdict:
    """The verdict over all checks of one category; records by task name.

    Choice tasks count by their mean accuracy, free answers by the mean log-likelihood (nats an answer); where
    a category has both, both must be better.
    """
    names = [check.task.name for check in checks]
    missing = [name for name in names if name not in base or name not in expert]
    if missing:
        return Verdict(False, f"not measured: {', '.join(missing)}")
    choice = [check for check in checks if check.chance is not None]
    free = [check for check in checks if check.chance is None]
    parts = [_choices(choice, base, expert)] if choice else []
    parts += [_answers(free, base, expert)] if free else []
    return Verdict(all(part.passed for part in parts), "; ".join(part.why for part in parts))


def _choices(checks: Sequence[Check], base: Mapping[str, Record], expert: Mapping[str, Record]) -> Verdict:
    """Accuracy against the base (item by item), the best constant answer and guessing."""
    value, error = _mean([expert[check.task.name].items for check in checks])
    gain, gain_error = _mean([_gains(check, base, expert) for check in checks])
    bar = max(
        fmean(check.majority for check in checks if check.majority is not None),
        fmean(check.chance for check in checks if check.chance is not None),
    )
    passed = gain > STANDARD_ERRORS * gain_error and value - bar > STANDARD_ERRORS * error
    why = (
        f"accuracy {value:.3f} ±{error:.3f}, over the base {gain:+.3f} ±{gain_error:.3f}, constant {bar:.3f}"
    )
    return Verdict(passed, why)


def _answers(checks: Sequence[Check], base: Mapping[str, Record], expert: Mapping[str, Record]) -> Verdict:
    """Log-likelihood of the answers against the base."""
    gain, error = _mean([_gains(check, base, expert) for check in checks])
    return Verdict(
        gain > STANDARD_ERRORS * error, f"log-likelihood over the base {gain:+.2f} ±{error:.2f} nats"
    )


def _gains(check: Check, base: Mapping[str, Record], expert: Mapping[str, Record]) -> list[float]:
    """Item by item, how much better the expert is."""
    name = check.task.name
    return [ours - theirs for ours, theirs in zip(expert[name].items, base[name].items, strict=True)]


def _mean(tasks: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The mean over tasks of their mean over items, and its standard error (0 for one item a task)."""
    errors = [mean_stderr(tuple(items)) or 0.0 for items in tasks]
    return fmean(fmean(items) for items in tasks), math.hypot(*errors) / len(tasks)
