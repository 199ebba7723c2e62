"""Suites: on what a model is measured. Reads suite files (format: configs/suites/README.md) strictly.

`load_suite` checks everything a file can tell and needs no data; `select_tasks` keeps the tasks asked for;
`locate_data` turns data paths into existing files. It never imports lm_eval, loads a model or reads rows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evals.strict import Node
from evals.task import BUILDERS, NAME, Data, Role, Task, read_task
from pipeline.config.place import Place, describe
from pipeline.config.text import read_file
from pipeline.errors import ConfigError, InputError, near

ROLES: tuple[Role, ...] = ("held-in", "held-out")
_ENV = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SAY_WHERE = "say where the data lies with --data DIR"


@dataclass(frozen=True)
class LeftOut:
    """A task that is not measured because files of it are not there; `files` are the missing ones."""

    task: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Suite:
    """A named set of tasks with one role.

    `data_dir`: as written; `material`: the name of the data that is made out of packages; "" when the file
    says nothing. `left_out`: the tasks that `locate_data` took off.
    """

    name: str
    role: Role
    file: Path
    data_dir: str
    material: str
    tasks: tuple[Task, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def categories(self) -> dict[str, tuple[Task, ...]]:
        """Category -> its tasks, both in file order."""
        names = dict.fromkeys(task.category for task in self.tasks)
        return {name: tuple(task for task in self.tasks if task.category == name) for name in names}


def load_suite(path: Path | str) -> Suite:
    """Read and check one suite file. ConfigError names the file, the path in it and the nearest name."""
    file = Path(path).resolve()
    top = Node(read_file(file), Place(str(file)))
    if "merge_method" in top:
        raise top.place.error(
            "this is a merge config, not a suite of tasks",
            hint="give it as a MODEL, and a suite with --suite",
        )
    top.only("name", "role", "data_dir", "material", "categories")
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
    data_dir, material = top.take_or("data_dir", str, ""), top.take_or("material", str, "")
    if data_dir and material:
        raise top.wrong("material", "a suite has either a data_dir or a material")
    return Suite(name, role, file, data_dir, material, tuple(tasks))


def _entries(top: Node) -> list[tuple[Node, str]]:
    """(task entry, its category) in file order; no category is empty."""
    categories = top.child("categories")
    if not categories.names():
        raise top.wrong("categories", "a suite needs at least one category")
    found = []
    for category in categories.names():
        if not isinstance(category, str) or not NAME.fullmatch(category):
            raise categories.place.error("a category is a plain name", found=describe(category))
        entries = categories.take(category, list)
        if not entries:
            raise categories.wrong(category, "a category needs at least one task")
        place = categories.place.key(category)
        found += [(Node(entry, place.item(index)), category) for index, entry in enumerate(entries)]
    return found


def check_suite_names(suites: Sequence[Suite]) -> None:
    """ConfigError where two suites have one name: scores go by it."""
    names = [suite.name for suite in suites]
    for suite in suites:
        if names.count(suite.name) > 1:
            raise ConfigError(f'two suites are called "{suite.name}"', where=f"{suite.file}: name")


def select_tasks(suites: Sequence[Suite], names: Sequence[str]) -> list[Suite]:
    """The suites with the named tasks only, in file order; suites without any are left out.

    InputError with the nearest name: no suite has a task of that name.
    """
    known = [task.name for suite in suites for task in suite.tasks]
    for name in names:
        if name not in known:
            raise InputError(f'no suite has a task "{name}"', found=name, hint=near(name, known))
    kept = [replace(suite, tasks=tuple(t for t in suite.tasks if t.name in names)) for suite in suites]
    return [suite for suite in kept if suite.tasks]


def locate_data(
    suite: Suite,
    data_dir: Path | None = None,
    *,
    skip_missing: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Suite:
    """The suite with absolute data paths, all of which exist.

    Relative paths start at `data_dir` if given, else where the suite's material lies (made or fetched first,
    which `report` hears of line by line), else at the suite's `data_dir`, else at the suite's folder. With
    `data_dir`, the local files of a task stand in for its hub data set. With `skip_missing`, tasks whose
    files are not there are taken off and named in `left_out`.
    ConfigError: an environment variable is not set, or a task on files here that names none. InputError:
    `data_dir` is not there, or files are not, all of them named.
    """
    if data_dir is not None and not data_dir.is_dir():
        raise InputError("the data directory is not there", where=str(data_dir), hint=_SAY_WHERE)
    start = data_dir.resolve() if data_dir is not None else _own_start(suite, report)
    tasks = [_located(task, start, stand_in=data_dir is not None) for task in suite.tasks]
    for task in tasks:
        _check_safe(task)
    missing = {
        task.name: files
        for task in tasks
        if (files := tuple(name for _, names in task.data for name in names if not Path(name).is_file()))
    }
    kept = tuple(task for task in tasks if task.name not in missing)
    if missing and not (skip_missing and kept):
        raise InputError(
            "data of the suite is not there",
            where=str(suite.file),
            expected="; ".join(f"{name}: {', '.join(files)}" for name, files in missing.items()),
            found=f"data of {len(kept)} of {len(tasks)} tasks",
            hint="say where the data lies with --data DIR"
            + (", or leave these tasks out with --skip-missing" if kept else ", or fetch it first"),
        )
    return replace(suite, tasks=kept, left_out=tuple(LeftOut(*item) for item in missing.items()))


def _check_safe(task: Task) -> None:
    """ConfigError for a task that runs what a model writes: lm-eval refuses it after all answers are made."""
    if task.definition.get("unsafe_code"):
        raise ConfigError(
            f'the task "{task.name}" runs code that models write (unsafe_code), which is not done here',
            where=task.where,
            hint="leave it out of the suite, or choose others with --task; lm_eval itself runs it with "
            "--confirm_run_unsafe_code, in a container",
        )


def _own_start(suite: Suite, report: Callable[[str], None]) -> Path:
    """Where the suite's relative data paths start when nobody says otherwise."""
    if suite.material:
        from evals.material import prepare_material

        return prepare_material(suite.material, report=report).resolve()
    return suite.file.parent / expand_env(suite.data_dir, f"{suite.file}: data_dir", _SAY_WHERE)


def _located(task: Task, start: Path, *, stand_in: bool) -> Task:
    """The task with its data files made absolute; on its local files where they stand in."""
    if stand_in and task.local is not None:
        task = replace(task, definition=task.local.definition, data=task.local.data)

    def absolute(name: str) -> str:
        return str((start / expand_env(name, task.where, _SAY_WHERE)).resolve())

    named = str(task.definition.get("dataset_path", ""))
    if not task.data and named and (named in BUILDERS.values() or Path(named).is_dir()):
        raise ConfigError(
            "this task's rows lie here, but its files are not named: a change of them would go unseen",
            where=task.where,
            expected="data: {test: FILE}",
            found=f"dataset_path: {named}",
        )
    data: Data = tuple((split, tuple(absolute(name) for name in names)) for split, names in task.data)
    return replace(task, data=data, local=None)


def expand_env(text: str, where: str, instead: str = "") -> str:
    """Text with each ${NAME} replaced by that environment variable.

    ConfigError: one is not set; `where` and what can be done `instead` go into it.
    """
    missing = [name for name in _ENV.findall(text) if name not in os.environ]
    if missing:
        hint = f"set {missing[0]}" + (f", or {instead}" if instead else "")
        raise ConfigError(
            f"the environment variable {missing[0]} is not set", where=where, found=text, hint=hint
        )
    return _ENV.sub(lambda match: os.environ[match[1]], text)
