"""Rows of a family: each category's tasks in turn, made once, made anew when data changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evals.family.rows import MULTITASK, prepare_rows, read_rows
from evals.suites import Suite
from tests.helpers.tasks import write_rows


class Writer:
    """In the place of the harness: row k of a task is its name and k; `sizes` rows a task."""

    def __init__(self, **sizes: int) -> None:
        self.sizes, self.calls = sizes, 0

    def __call__(self, suite: Suite, out: Path, *, split: str, limit: int) -> Mapping[str, Sequence[Path]]:
        """As `write_examples`."""
        self.calls += 1
        found: dict[str, list[Path]] = {}
        for task in suite.tasks:
            count = min(limit, self.sizes[task.name])
            rows = [{"question": f"{task.name} {number}", "answer": split} for number in range(count)]
            path = out / task.category / f"{task.name}.{split}.jsonl"
            found.setdefault(task.category, []).append(write_rows(path, rows))
        return found


@pytest.fixture
def three(suite: Suite) -> Suite:
    """Two tasks in one category, one in another."""
    one, two, other = suite.tasks[:3]
    tasks = (
        replace(one, name="a", category="ab"),
        replace(two, name="b", category="ab"),
        replace(other, name="c", category="c"),
    )
    return replace(suite, tasks=tasks)


def questions(path: Path) -> list[str]:
    """What the rows of a file ask."""
    return [row["question"] for row in read_rows(path)]


def test_any_beginning_holds_as_much_of_each_task(three: Suite, tmp_path: Path) -> None:
    """A category's file takes its tasks in turn and then what is left; multitask takes categories in turn."""
    data = prepare_rows(three, tmp_path, 2, Writer(a=3, b=1, c=2))
    assert questions(data.train["ab"]) == ["a 0", "b 0", "a 1", "a 2"]
    assert questions(data.train[MULTITASK]) == ["a 0", "c 0", "b 0", "c 1", "a 1", "a 2"]
    assert questions(data.validation["ab", "a"]) == ["a 0", "a 1"]


def test_rows_are_made_once(three: Suite, tmp_path: Path) -> None:
    """The same suite and data keep the files; a damaged file or another size makes them anew."""
    write = Writer(a=3, b=1, c=2)
    for _ in range(2):
        data = prepare_rows(three, tmp_path, 2, write)
    assert write.calls == 2
    data.train["ab"].write_text(json.dumps({"question": "x", "answer": "y"}) + "\n")
    prepare_rows(three, tmp_path, 2, write)
    assert write.calls == 4 and len(questions(data.train["ab"])) == 4
    prepare_rows(three, tmp_path, 1, write)
    assert write.calls == 6


@pytest.mark.parametrize("content", [b'{"identity": "a", "fi', b"[]", b"{}", b"\xff"])
def test_a_damaged_index_makes_the_rows_anew(three: Suite, tmp_path: Path, content: bytes) -> None:
    """Where data.json was cut short, or says something else, the rows are made again, as when it is gone."""
    write = Writer(a=3, b=1, c=2)
    prepare_rows(three, tmp_path, 2, write)
    whole = (tmp_path / "data.json").read_bytes()
    (tmp_path / "data.json").write_bytes(content)
    prepare_rows(three, tmp_path, 2, write)
    assert write.calls == 4 and (tmp_path / "data.json").read_bytes() == whole
