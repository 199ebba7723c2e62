"""The rows that experts are trained and judged on: those of a suite's tasks, one file a category.

    OUT/data/tasks/<category>/<task>.<split>.jsonl   as the suite's definitions render them
    OUT/data/train/<category>.jsonl                  the tasks of a category in turn, so that any beginning
                                                     of the file holds as much of each
    OUT/data/train/multitask.jsonl                   the same over all categories

Made once for one suite, seed and data; never out of rows that a suite scores.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from evals.content import Digests, digest_json, task_digest
from evals.suites import Suite
from evals.task import Task
from pipeline.checkpoint.files import atomic_write, digest_file, read_json_object
from pipeline.errors import CheckpointError, InputError
from pipeline.untrusted import parse_json, read_lines

MULTITASK = "multitask"
#: Rows of one task at most; no expert here is trained on more.
ROWS_A_TASK = 20_000
_INDEX = "data.json"
#: Part of the rows' identity; raised when they are chosen, rendered or laid in turn in another way.
_RECIPE = 2
Split = Literal["train", "validation"]
#: `evals.harness.write_examples`, or what stands in for it.
Writer = Callable[..., Mapping[str, Sequence[Path]]]


@dataclass(frozen=True)
class FamilyData:
    """Where the rows lie. train: category (or "multitask") -> file.  validation: (category, task) -> file."""

    train: Mapping[str, Path]
    validation: Mapping[tuple[str, str], Path]


def prepare_rows(suite: Suite, out: Path, validation: int, write: Writer) -> FamilyData:
    """The rows of every task of `suite` (data located), `validation` of each kept to judge.

    No category is called multitask. InputError: a task without training rows.
    """
    digests = Digests(out / "digests.json")
    identity = digest_json(
        [[task.category, task.name, task_digest(task, digests)] for task in suite.tasks]
        + [validation, _RECIPE]
    )
    train = {name: out / "train" / f"{name}.jsonl" for name in (*suite.categories, MULTITASK)}
    held = {(task.category, task.name): _rows(out, task, "validation") for task in suite.tasks}
    if not _made(out / _INDEX, identity):
        write(suite, out / "tasks", split="validation", limit=validation)
        files = write(suite, out / "tasks", split="train", limit=ROWS_A_TASK)
        by_category = {name: list(_in_turn([_lines(file) for file in files[name]])) for name in files}
        for name, lines in [*by_category.items(), (MULTITASK, list(_in_turn(by_category.values())))]:
            train[name].parent.mkdir(parents=True, exist_ok=True)
            atomic_write(train[name], "".join(lines).encode())
        made = {str(path.relative_to(out)): digest_file(path) for path in (*train.values(), *held.values())}
        atomic_write(out / _INDEX, json.dumps({"identity": identity, "files": made}, indent=1).encode())
    digests.save()
    return FamilyData(train, held)


def validation_file(family: Path, task: Task) -> Path:
    """Where the validation rows of a task lie in a family's directory."""
    return _rows(family / "data", task, "validation")


def _rows(data: Path, task: Task, split: Split) -> Path:
    return data / "tasks" / task.category / f"{task.name}.{split}.jsonl"


def _made(index: Path, identity: str) -> bool:
    """Whether all files are there as they were written for this suite and data. A damaged index says no."""
    if not index.is_file():
        return False
    try:
        held = read_json_object(index)
    except CheckpointError:
        return False
    files = held.get("files")
    if held.get("identity") != identity or not isinstance(files, dict):
        return False
    paths = {index.parent / name: digest for name, digest in files.items()}
    return all(path.is_file() and digest_file(path) == digest for path, digest in paths.items())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of one file."""
    found = []
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            try:
                found.append(parse_json(line))
            except ValueError as error:
                raise InputError("not JSON", where=f"{path}, line {number}", found=str(error)) from error
    return found


def _lines(path: Path) -> list[str]:
    return [f"{line}\n" for line in read_lines(path) if line.strip()]


def _in_turn(lists: Iterable[Sequence[str]]) -> Iterable[str]:
    """One of each list after the other, until all are used up."""
    return (line for round_ in zip_longest(*lists) for line in round_ if line is not None)
