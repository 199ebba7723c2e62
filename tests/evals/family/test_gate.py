"""The gate: an expert passes if and only if it beats its base and constant answers by two standard errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals.family.gate import Check, judge, make_check
from evals.harness import evaluate_model
from evals.record import Record
from evals.setting import Setting
from evals.suites import Suite
from evals.task import Task
from tests.helpers.records import record
from tests.helpers.tasks import write_rows


@pytest.fixture
def task(suite: Suite) -> Task:
    """Any task of a suite."""
    return suite.tasks[0]


def scored(items: list[float]) -> dict[str, Record]:
    """The record of one task with these item scores."""
    return {"pick": record("model", "pick", items)}


def choice_check(task: Task, majority: float = 0.5, chance: float = 0.5) -> Check:
    """A check of accuracy."""
    return Check(replace(task, name="pick"), majority, chance)


BASE = [0.0, 1.0] * 50


@pytest.mark.parametrize(
    ("expert", "majority", "passed"),
    [
        ([1.0] * 90 + [0.0] * 10, 0.5, True),
        (BASE, 0.3, False),  # no better than the base
        ([0.0, 1.0] * 47 + [1.0] * 6, 0.4, False),  # three items better: less than two standard errors
        ([1.0] * 90 + [0.0] * 10, 0.9, False),  # one constant answer does as well
        ([0.0] * 100, 0.0, False),
    ],
)
def test_two_standard_errors_decide(task: Task, expert: list[float], majority: float, passed: bool) -> None:
    """Both the gain over the base, item by item, and that over a constant must exceed two standard errors."""
    verdict = judge([choice_check(task, majority, chance=0.0)], scored(BASE), scored(expert))
    assert verdict.passed is passed
    assert "over the base" in verdict.why


def test_chance_is_a_bar_too(task: Task) -> None:
    """A constant answer that is worse than guessing does not make guessing pass."""
    expert = scored([1.0] * 55 + [0.0] * 45)
    assert judge([choice_check(task, 0.2, chance=0.2)], scored([0.0] * 100), expert).passed
    assert not judge([choice_check(task, 0.2, chance=0.5)], scored([0.0] * 100), expert).passed


def test_free_answers_are_judged_by_their_likelihood(task: Task) -> None:
    """Where there are no choices, the log-likelihood of the answers must rise by two standard errors."""
    check = Check(replace(task, name="pick"), None, None)
    base = scored([-9.0, -8.0, -9.5, -10.0])
    assert judge([check], base, scored([-4.0, -4.0, -5.0, -4.5])).passed
    assert not judge([check], base, scored([-8.9, -8.2, -9.6, -9.8])).passed


def test_what_was_not_measured_does_not_pass(task: Task) -> None:
    """A task without a record of base or expert fails and is named."""
    verdict = judge([choice_check(task)], {}, scored(BASE))
    assert not verdict.passed and verdict.why == "not measured: pick"


@pytest.mark.parametrize(
    "rows",
    [
        [{"question": "w5 w6", "answer": "w7"}] * 3,
        [{"question": "w5 w6", "choices": ["w8", "w7"], "label": 1}] * 3,
        [{"question": "w5 w6", "choices": ["w7"], "label": 0}] * 3,
    ],
)
def test_lm_eval_takes_every_check(
    task: Task, home: Path, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    """A model is scored on each kind of rows, one score a row; a free answer's is its log-likelihood."""
    check = make_check(task, write_rows(tmp_path / "rows.jsonl", rows))
    (found,) = evaluate_model(home / "base", [check.task], Setting(dtype="float32"))
    assert len(found.items) == 3
    assert (check.chance is None) == (found.items[0] < 0)


def test_a_check_asks_the_validation_rows(task: Task, tmp_path: Path) -> None:
    """Choices are scored by accuracy with the rows' own majority and chance, free answers by likelihood."""
    rows: list[dict[str, Any]] = [
        {"question": "a", "choices": ["x", "y"], "label": 0},
        {"question": "b", "choices": ["y", "x"], "label": 1},
        {"question": "c", "choices": ["x", "y", "z", "w"], "label": 0},
        {"question": "d", "choices": ["y", "x"], "label": 0},
    ]
    check = make_check(task, write_rows(tmp_path / "rows.jsonl", rows))
    assert (check.majority, check.chance) == (
        0.75,
        (0.5 * 3 + 0.25) / 4,
    )  # x three times, first place three times
    assert (check.task.metric, check.task.shots, check.task.limit) == ("acc", 0, None)
    free = make_check(task, write_rows(tmp_path / "free.jsonl", [{"question": "a", "answer": "b c"}]))
    assert (free.majority, free.chance, free.task.metric) == (None, None, "perplexity")
    rows[1] = {"question": "b", "choices": ["only"], "label": 0}
    listed = make_check(task, write_rows(tmp_path / "listed.jsonl", rows))
    assert listed.chance is None, "rows that list nothing but right answers cannot be guessed among"
