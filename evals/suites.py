"""Suites: on what a model is measured. Reads suite files (format: configs/suites/README.md) strictly.

`load_suite` checks everything a file can tell and needs no data; `locate_data` turns data paths into existing
files. Neither imports lm_eval, loads a model or reads task data.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from evals.strict import Node, read_yaml
from evals.task import NAME, Role, Task, read_task
from pipeline.errors import ConfigError, InputError, near

ROLES: tuple[Role, ...] = ("held-in", "held-out")
_ENV = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Suite:
    """A named set of tasks with one role. `data_dir` is as written, "" when the file says nothing."""

    name: str
    role: Role
    file: Path
    data_dir: str
    tasks: tuple[Task, ...]

    @property
    def categories(self) -> dict[str, tuple[Task, ...]]:
        """Category -> its tasks, both in file order."""
        names = dict.fromkeys(task.category for task in self.tasks)
        return {name: tuple(task for task in self.tasks if task.category == name) for name in names}


def load_suite(path: Path | str) -> Suite:
    """Read and check one suite file. ConfigError names the file, the path in it and the nearest name."""
    file = Path(path).resolve()
    top = Node(read_yaml(file), file)
    top.only("name", "role", "data_dir", "categories")
    name, written = top.take("name", str), top.take("role", str)
    if not NAME.fullmatch(name):
        raise top.wrong("name", "a suite's name is letters, digits, _, - and .")
    role = next((role for role in ROLES if role == written), None)
    if role is None:
        raise top.wrong("role", "unknown role", expected=" or ".join(ROLES), hint=near(written, list(ROLES)))
    tasks: list[Task] = []
    for entry, category in _entries(top):
        task = read_task(entry, name, role, category)
        if any(task.name == other.name for other in tasks):
            raise entry.wrong("task", "this name is already taken in the suite")
        tasks.append(task)
    return Suite(name, role, file, top.take_or("data_dir", str, ""), tuple(tasks))


def _entries(top: Node) -> list[tuple[Node, str]]:
    """(task entry, its category) in file order; no category is empty."""
    categories = top.child("categories")
    if not categories.names():
        raise top.wrong("categories", "a suite needs at least one category")
    found = []
    for category in categories.names():
        entries = categories.take(category, list)
        if not entries or not NAME.fullmatch(category):
            raise categories.wrong(category, "a category is a plain name with at least one task")
        places = (f"categories.{category}[{position}]" for position in range(len(entries)))
        found += [
            (Node(entry, top.file, place), category) for entry, place in zip(entries, places, strict=True)
        ]
    return found


def locate_data(suite: Suite, data_dir: Path | None = None) -> Suite:
    """The suite with absolute data paths, all of which exist.

    Relative paths start at `data_dir` if given, else at the suite's `data_dir`, else at the suite's folder.
    ConfigError: an environment variable is not set. InputError: a file is not there; its task is named.
    """
    if data_dir is not None:
        start = data_dir.resolve()
    else:
        start = suite.file.parent / _expand(suite.data_dir, f"{suite.file}: data_dir")
    return replace(suite, tasks=tuple(_located(task, start) for task in suite.tasks))


def _located(task: Task, start: Path) -> Task:
    """The task with each data file resolved against `start`."""
    data = []
    for split, names in task.data:
        files = [(start / _expand(name, task.where)).resolve() for name in names]
        for file in files:
            if not file.is_file():
                raise InputError(
                    f'the data of task "{task.name}" is not there',
                    where=f"{task.where}: data.{split}",
                    expected=f"a file {file}",
                    hint="say where the data lies with --data DIR, or fetch it first",
                )
        data.append((split, tuple(str(file) for file in files)))
    return replace(task, data=tuple(data))


def _expand(text: str, where: str) -> str:
    """Text with each ${NAME} replaced by that environment variable."""
    missing = [name for name in _ENV.findall(text) if name not in os.environ]
    if missing:
        hint = f"set {missing[0]}, or say where the data lies with --data DIR"
        raise ConfigError(
            f"the environment variable {missing[0]} is not set", where=where, found=text, hint=hint
        )
    return _ENV.sub(lambda match: os.environ[match[1]], text)
