"""One task of a suite: what it is, and how its entry in a suite file is read and checked.

The lm-eval definition is handled as data: this module never imports lm_eval and never opens task data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evals.definitions import BETTER_HIGHER, DEFAULT_METRICS, FunctionRef, find_bundled, read_definition
from evals.strict import Node
from pipeline.errors import ConfigError, near

Role = Literal["held-in", "held-out"]
#: Split -> files, in file order: paths as written until `suites.locate_data` has made them absolute.
Data = tuple[tuple[str, tuple[str, ...]], ...]
#: What a suite, a category or a task may be called: it becomes part of file names and table heads.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

_WHAT = ("task", "definition", "bundled", "override", "data", "local", "override_local")
_HOW = ("shots", "limit", "metric", "higher_is_better", "chance")
_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")
_NAMING = ("task", "tag", "group", "task_alias")
_DATA_SET = ("dataset_path", "dataset_name", "dataset_kwargs", "custom_dataset")
#: Suffix of a data file -> the `datasets` builder that reads it.
BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet", ".txt": "text"}


@dataclass(frozen=True)
class Local:
    """A task on local copies of its hub data set: the definition without that data set, and the files."""

    definition: Mapping[str, Any]
    data: Data


@dataclass(frozen=True)
class Task:
    """One measured task: an lm-eval definition, its data, and what is read off the result.

    `definition`: the lm-eval mapping with includes merged, without names, and without a data set when `data`
    replaces it. `limit`: the first N items, None for all. `chance`: the score of blind guessing, None where
    there is none. `where`: "file: path.in.it" of the entry, for errors. `local`: the task on local copies,
    taken in its place where a folder of them is given; None once the data is located.
    """

    name: str
    suite: str
    role: Role
    category: str
    definition: Mapping[str, Any]
    data: Data
    shots: int
    limit: int | None
    metric: str
    filter: str
    higher_is_better: bool
    chance: float | None
    where: str
    local: Local | None = None

    @property
    def is_guessable(self) -> bool:
        """Whether it asks for an answer that can be guessed, not for the likelihood of given texts.

        A choice scored by exact match asks what the model would write, and its choices are all right ones.
        """
        kind = self.definition.get("output_type", "generate_until")
        if "class" in self.definition or (kind, self.metric) == ("multiple_choice", "exact_match"):
            return False
        return kind in ("multiple_choice", "generate_until")

    @property
    def version(self) -> str:
        """The version that the definition's metadata states, "" when it states none."""
        metadata = self.definition.get("metadata")
        return str(metadata.get("version", "")) if isinstance(metadata, Mapping) else ""


def data_builder(name: str) -> str:
    """The name of the `datasets` builder that reads a data file, by its suffix."""
    return BUILDERS[Path(name).suffix]


def read_task(node: Node, suite: str, role: Role, category: str) -> Task:
    """One entry of a category, checked as far as files can tell. ConfigError names the place."""
    node.only(*_WHAT, *_HOW)
    name = node.take("task", str)
    if not NAME.fullmatch(name):
        raise node.wrong("task", "a task's name is letters, digits, _, - and .")
    definition = _definition(node)
    data = _data(node, definition)
    definition = _on_files(definition, data) if data else definition
    _check_splits(node, definition, data)
    metric, chosen = _metric(node, definition)
    shots = _shots(node, definition)
    return Task(
        name=name,
        suite=suite,
        role=role,
        category=category,
        definition=definition,
        data=data,
        shots=shots,
        limit=_limit(node),
        metric=metric,
        filter=chosen,
        higher_is_better=_direction(node, definition, metric),
        chance=_chance(node),
        where=node.where(),
        local=_local(node, definition, data),
    )


def _definition(node: Node) -> dict[str, Any]:
    """The lm-eval mapping from `definition` or `bundled`, with `override` on top and names taken off."""
    if ("definition" in node) == ("bundled" in node):
        raise ConfigError("a task has either a definition or a bundled name", where=node.where())
    if "bundled" in node:
        found = read_definition(find_bundled(node.take("bundled", str), node.where("bundled")))
    elif isinstance(node.raw("definition"), str):
        folder = node.file.parent
        found = read_definition(folder / node.take("definition", str), folder)
    else:
        found = dict(node.take("definition", dict))
        if "include" in found:
            raise node.wrong(
                "definition", "an inline definition cannot include", hint="use bundled, or a file"
            )
    if isinstance(found.get("task"), list) or ("group" in found and "task" not in found):
        raise ConfigError("this is a group of tasks", where=node.where(), hint="list its tasks one by one")
    found |= node.take_or("override", dict, {})
    return {key: value for key, value in found.items() if key not in _NAMING}


def _data(node: Node, definition: Mapping[str, Any]) -> Data:
    """The files from `data` or the definition's own `data_files`; () when lm-eval finds them itself."""
    if node.raw("data") is not None:
        return _files(node, "data", node.raw("data"))
    arguments = definition.get("dataset_kwargs")
    files = arguments.get("data_files") if isinstance(arguments, dict) else None
    return () if files is None else _files(node, "definition", files)


def _local(node: Node, definition: Mapping[str, Any], data: Data) -> Local | None:
    """The task on local copies of its hub data set, checked like the task itself; None without `local`."""
    changes = node.take_or("override_local", dict, {})
    if "local" not in node:
        if changes:
            raise node.wrong("override_local", "there are no local files that this could apply to")
        return None
    if data:
        raise node.wrong("local", "the task has files of its own: nothing stands in for them")
    files = _files(node, "local", node.raw("local"))
    changed = _on_files({**definition, **changes}, files)
    _check_splits(node, changed, files)
    _shots(node, changed)
    _metric(node, changed)
    return Local(changed, files)


def _files(node: Node, where: str, files: Any) -> Data:
    """Split -> files, all of one kind, as written."""
    if not isinstance(files, dict) or not files:
        raise node.wrong(where, "data files are given split by split", expected="{test: file.jsonl}")
    data: list[tuple[str, tuple[str, ...]]] = []
    for split, value in files.items():
        names = value if isinstance(value, list) else [value]
        if not names or not all(isinstance(name, str) and Path(name).suffix in BUILDERS for name in names):
            raise node.wrong(where, f'data of split "{split}"', expected=f"files {', '.join(BUILDERS)}")
        data.append((str(split), tuple(names)))
    if len({data_builder(name) for _, names in data for name in names}) > 1:
        raise node.wrong(where, "the files of one task must be of one kind")
    return tuple(data)


def _on_files(definition: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """The definition without its data set, which the files replace, and without the splits they lack."""
    there = [split for split, _ in data]
    gone = [key for key in _SPLITS if definition.get(key) not in (None, *there)]
    return {key: value for key, value in definition.items() if key not in (*_DATA_SET, *gone)}


def _check_splits(node: Node, definition: Mapping[str, Any], data: Data) -> None:
    """One split to score must be left; a definition written in Python knows its own."""
    if not any(definition.get(key) for key in ("test_split", "validation_split", "class")):
        expected = "test_split or validation_split in the definition, and its file where files are given"
        found = ", ".join(split for split, _ in data)
        raise ConfigError("no split to score", where=node.where(), expected=expected, found=found)


def _shots(node: Node, definition: Mapping[str, Any]) -> int:
    """Examples in the prompt, by default as many as the definition says (lm-eval's rule).

    They must come from elsewhere than the split that is scored.
    """
    said = definition.get("num_fewshot")
    shots = node.take_or("shots", int, said if isinstance(said, int) else 0)
    if shots < 0:
        raise node.wrong("shots", "shots cannot be negative")
    own = definition.get("fewshot_config")
    own = own if isinstance(own, Mapping) else {}
    spare = definition.get("test_split") and definition.get("validation_split")
    sources = (own.get("split"), own.get("samples"), spare, definition.get("class"))
    if shots and not any((*sources, definition.get("fewshot_split"), definition.get("training_split"))):
        raise node.wrong(
            "shots", "no split to draw examples from", expected="fewshot_split or training_split"
        )
    return shots


def _limit(node: Node) -> int | None:
    limit = node.take("limit", int) if node.raw("limit") is not None else None
    if limit is not None and limit < 1:
        raise node.wrong("limit", "a limit is at least 1")
    return limit


def _chance(node: Node) -> float | None:
    if "chance" not in node:
        raise node.wrong(
            "chance", 'the key "chance" is missing', expected="a number, or null if there is none"
        )
    chance = node.take("chance", float) if node.raw("chance") is not None else None
    if chance is not None and not math.isfinite(chance):
        raise node.wrong("chance", "chance is a finite number")
    return chance


def _metrics(definition: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Metric name -> its entry in `metric_list`, or the names lm-eval takes by itself, with empty entries."""
    listed = definition.get("metric_list")
    if not isinstance(listed, list):
        kind = str(definition.get("output_type", "generate_until"))
        return {name: {} for name in DEFAULT_METRICS.get(kind, ())}
    entries = [entry for entry in listed if isinstance(entry, Mapping) and "metric" in entry]
    names = [entry["metric"] for entry in entries]
    spelled = [name.name.rpartition(".")[2] if isinstance(name, FunctionRef) else str(name) for name in names]
    return dict(zip(spelled, entries, strict=True))


def functions_of(definition: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the entries of `metric_list` that are functions: one may give scores of several other names."""
    return [entry for entry in _metrics(definition).values() if isinstance(entry.get("metric"), FunctionRef)]


def _metric(node: Node, definition: Mapping[str, Any]) -> tuple[str, str]:
    """(metric, filter): the filter is "none" unless the task has its own; several must be chosen from."""
    metric, _, chosen = node.take("metric", str).partition(",")
    known = list(_metrics(definition))
    if metric not in known and "class" not in definition and not functions_of(definition):
        hint = near(metric, known) if known else ""
        raise node.wrong("metric", f'the task has no metric "{metric}"', hint=hint)
    listed = definition.get("filter_list")
    filters = [str(entry.get("name")) for entry in listed] if isinstance(listed, list) else ["none"]
    if not chosen and len(filters) > 1:
        hint = f"add one of: {', '.join(filters)}"
        raise node.wrong("metric", "the task has several filters", expected=f"{metric},FILTER", hint=hint)
    if chosen and chosen not in filters:
        raise node.wrong("metric", f'the task has no filter "{chosen}"', hint=near(chosen, filters))
    return metric, chosen or filters[0]


def _direction(node: Node, definition: Mapping[str, Any], metric: str) -> bool:
    """Whether more is better: as the definition or lm-eval says; where neither does, the suite must."""
    said = _metrics(definition).get(metric, {}).get("higher_is_better", BETTER_HIGHER.get(metric))
    if metric not in _metrics(definition):  # a name that one of the functions gives
        directions = [entry.get("higher_is_better") for entry in functions_of(definition)]
        said = directions[0] if directions and directions.count(directions[0]) == len(directions) else said
    given = node.take("higher_is_better", bool) if "higher_is_better" in node else None
    if isinstance(said, bool):
        if given is not None and given != said:
            raise node.wrong("higher_is_better", "the task's definition says the opposite")
        return said
    if given is None:
        raise node.wrong(
            "higher_is_better", 'the key "higher_is_better" is missing', expected="true or false"
        )
    return given
