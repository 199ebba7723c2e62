"""Baselines: what a guesser scores, counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evals.harness import evaluate_model
from evals.models import baseline_model
from evals.setting import Setting
from evals.suites import load_suite, locate_data
from evals.task import Task
from pipeline.errors import InputError
from tests.helpers.tasks import FREE, choice_task, write_rows, write_suite


def task(folder: Path, rows: list[dict[str, Any]], **keys: Any) -> Task:
    """A task over these rows."""
    write_rows(folder / "data" / "test.jsonl", rows)
    entry = choice_task(data={"test": "data/test.jsonl"}, **keys)
    return locate_data(load_suite(write_suite(folder / "suite.yaml", {"a": [entry]}))).tasks[0]


def scores(one: Task, kind: str) -> tuple[float, ...]:
    """The score of every item."""
    return evaluate_model(baseline_model(kind), [one], Setting())[0].items


def row(question: str, *choices: str, label: int) -> dict[str, Any]:
    """One row."""
    return {"question": question, "choices": list(choices), "label": label}


def test_majority_takes_the_better_of_text_and_place(tmp_path: Path) -> None:
    """Where one text is right most often that text is given wherever it stands; else one place."""
    asked = [("no", "yes", 1), ("yes", "no", 0), ("no", "yes", 1), ("yes", "no", 0), ("no", "yes", 0)]
    by_text = [row("q", first, second, label=label) for first, second, label in asked]
    assert scores(task(tmp_path / "text", by_text), "majority") == (1.0, 1.0, 1.0, 1.0, 0.0)
    by_place = [row("q", "a", "b", label=1), row("q", "c", "d", label=1), row("q", "e", "f", label=0)]
    assert scores(task(tmp_path / "place", by_place), "majority") == (1.0, 1.0, 0.0)


def test_rows_without_labels_are_named(tmp_path: Path) -> None:
    """Where no document names a right answer (an unlabelled split) there is no guess but an error."""
    with pytest.raises(InputError, match="no document names"):
        scores(task(tmp_path, [row("q", "a", "b", label=-1)] * 3), "majority")


def test_copy_takes_the_choice_that_the_prompt_shows(tmp_path: Path) -> None:
    """The choice most of whose words stand in the prompt is given; the first of equal ones."""
    rows = [
        row("The cat sat, on a mat.", "dog", "cat", label=1),
        row("The cat sat on a mat", "red mat", "on a mat", label=1),
        row("nothing of it", "dog", "cat", label=0),
    ]
    assert scores(task(tmp_path, rows), "copy") == (1.0, 1.0, 1.0)


def test_guessers_of_free_text(tmp_path: Path) -> None:
    """The majority is the commonest target; copying gives as many first words as targets have."""
    rows = [
        row("w5 rest", "w5", "x", label=0),
        row("w6 rest", "w9", "x", label=0),
        row("w7", "w9", "x", label=0),
    ]
    free = task(tmp_path, rows, definition=FREE, metric="exact_match")
    assert scores(free, "majority") == (0.0, 1.0, 1.0)
    assert scores(free, "copy") == (1.0, 0.0, 0.0)


def test_a_task_whose_choices_are_all_right_is_not_guessed() -> None:
    """Web Questions offers right answers only and scores what the model would write: no guesser takes it."""
    suite = load_suite(Path(__file__).parents[2] / "configs/suites/t0-held-in.yaml")
    tasks = {task.name: task for task in suite.tasks}
    assert not tasks["web_questions"].is_guessable and tasks["dream"].is_guessable
