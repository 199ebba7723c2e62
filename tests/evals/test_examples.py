"""Training rows out of suites: what lm-eval scores, never the rows that it scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from evals.examples_cli import examples_command
from evals.harness import write_examples
from evals.suites import Suite, load_suite, locate_data
from pipeline.errors import InputError
from tests.helpers.tasks import CHOICE, FREE, choice_rows, choice_task, write_rows, write_suite


def make(folder: Path, train: list[dict[str, Any]], test: list[dict[str, Any]]) -> Suite:
    """A suite of two categories over these rows."""
    write_rows(folder / "data" / "train.jsonl", train)
    write_rows(folder / "data" / "test.jsonl", test)
    entries = {
        "choice": [choice_task(definition={**CHOICE, "doc_to_text": "Q: {{question}}"})],
        "words": [choice_task("free", definition={**FREE, "training_split": "train"}, metric="exact_match")],
    }
    return locate_data(load_suite(write_suite(folder / "suite.yaml", entries)))


def rows(paths: list[Path]) -> list[dict[str, Any]]:
    """All rows of these files."""
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def test_rows_are_the_prompts_and_answers_of_the_task(tmp_path: Path) -> None:
    """A choice task gives question, choices and label; one that generates, question and answer with
    the text that ends it.
    """
    train = choice_rows(40, seed=1)
    suite = make(tmp_path, train, choice_rows(5, seed=2))
    both = [write_examples(suite, tmp_path / "out", split=split) for split in ("train", "validation")]
    choice = sorted(rows(both[0]["choice"] + both[1]["choice"]), key=json.dumps)
    assert choice == sorted(({**one, "question": f"Q: {one['question']}"} for one in train), key=json.dumps)
    free = rows(both[0]["words"] + both[1]["words"])
    assert {(one["question"], one["answer"]) for one in free} == {
        (one["question"], one["choices"][0] + "\n") for one in train
    }


def test_no_row_is_in_two_splits_or_among_the_scored(tmp_path: Path) -> None:
    """Train, validation and scored rows share nothing, whatever repeats in the data."""
    test = choice_rows(10, seed=3)
    train = [*choice_rows(60, seed=4), *test, *choice_rows(20, seed=4)]
    suite = make(tmp_path, train, test)
    found = [
        {json.dumps(one) for one in rows(write_examples(suite, tmp_path / "out", split=split)["choice"])}
        for split in ("train", "validation")
    ]
    assert not found[0] & found[1] and len(found[0]) + len(found[1]) == 60 and len(found[1]) > 0
    scored = {json.dumps({**one, "question": f"Q: {one['question']}"}) for one in test}
    assert not scored & (found[0] | found[1])


def test_a_validation_split_that_is_not_scored_is_used(tmp_path: Path) -> None:
    """With test and validation splits of its own, a task trains on all training rows that are in neither."""
    train, held, test = choice_rows(30, seed=6), choice_rows(9, seed=7), choice_rows(5, seed=8)
    write_rows(tmp_path / "data" / "validation.jsonl", [*held, test[0]])
    data = {name: f"data/{name}.jsonl" for name in ("train", "validation", "test")}
    write_rows(tmp_path / "data" / "train.jsonl", [*train, held[0]])
    write_rows(tmp_path / "data" / "test.jsonl", test)
    entry = choice_task(definition={**CHOICE, "validation_split": "validation"}, data=data)
    suite = locate_data(load_suite(write_suite(tmp_path / "suite.yaml", {"choice": [entry]})))
    for split, expected in (("train", train), ("validation", held)):
        found = rows(write_examples(suite, tmp_path / "out", split=split)["choice"])
        assert sorted(found, key=json.dumps) == sorted(expected, key=json.dumps)


def test_the_same_rows_come_again(tmp_path: Path) -> None:
    """The same suite, limit and seed give the same bytes; another seed draws others."""
    suite = make(tmp_path, choice_rows(60, seed=4), choice_rows(5, seed=5))

    def drawn(name: str, seed: int) -> bytes:
        return write_examples(suite, tmp_path / name, split="train", limit=9, seed=seed)["choice"][
            0
        ].read_bytes()

    assert drawn("a", 0) == drawn("b", 0) != drawn("c", 1)
    assert drawn("a", 0).count(b"\n") == 9


def test_a_task_without_training_rows_is_named(tmp_path: Path) -> None:
    """A task that has no training split is an InputError that names it."""
    write_rows(tmp_path / "data" / "test.jsonl", choice_rows(5))
    entry = choice_task(data={"test": "data/test.jsonl"}, override={"training_split": None})
    suite = locate_data(load_suite(write_suite(tmp_path / "suite.yaml", {"a": [entry]})))
    with pytest.raises(InputError, match="no training split") as caught:
        write_examples(suite, tmp_path / "out", split="train")
    assert "categories.a[0]" in caught.value.where


def test_suites_that_would_overwrite_each_other_are_refused(tmp_path: Path) -> None:
    """Two suites with one category and task are an InputError that names both files; nothing is written."""
    suite = make(tmp_path, choice_rows(40, seed=1), choice_rows(5, seed=2))
    other = tmp_path / "other.yaml"
    other.write_text(suite.file.read_text())
    given = ["--suite", str(suite.file), "--suite", str(other), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(examples_command, given)
    assert isinstance(done.exception, InputError)
    assert "choice/pick" in done.exception.what and not (tmp_path / "out").exists()
    assert str(suite.file) in done.exception.where and str(other) in done.exception.where


def test_a_limit_is_for_training_rows_and_says_so(tmp_path: Path) -> None:
    """With --limit the validation rows are as many as without it, as the help tells."""
    suite = make(tmp_path, choice_rows(40, seed=1), choice_rows(5, seed=2))
    counts = []
    for name, limit in (("all", []), ("few", ["--limit", "2"])):
        given = ["--suite", str(suite.file), "--out", str(tmp_path / name), *limit]
        assert CliRunner().invoke(examples_command, given).exit_code == 0
        files = [tmp_path / name / "choice" / f"pick.{split}.jsonl" for split in ("train", "validation")]
        counts.append([len(rows([file])) for file in files])
    assert counts == [[36, 4], [2, 4]]
    help_text = " ".join(CliRunner().invoke(examples_command, ["--help"]).output.split())
    assert "validation rows are not cut" in help_text
