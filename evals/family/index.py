"""What a family has come to: family.json for programs, family.md for people. It computes no score.

Paths inside the family's directory are written relative to it, so that it can be moved.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from evals.family.command import command_for
from evals.models import BASELINES
from evals.table import MISSING, Grid, as_number
from pipeline.checkpoint.files import atomic_write, digest_bytes, digest_file, read_json_object
from pipeline.errors import InputError

INDEX, PAGE = "family.json", "family.md"
#: Version of the index's fields and meaning.
SCHEMA = 1
#: What `verdicts` are.
GATE = "The gate, on validation rows:"
_LUCK_HEADS = ("task", "expert, mean", "its spread", "multitask, mean", "its spread")
_HEADS = ("task", "metric", "chance", *BASELINES, "base", "expert", "multitask", "passed")


def write_index(out: Path, index: Mapping[str, Any]) -> None:
    """Write both files."""
    atomic_write(out / INDEX, json.dumps(index, indent=1).encode() + b"\n")
    atomic_write(out / PAGE, as_markdown(index).encode())


def read_index(out: Path, command: Callable[[], str] | None = None) -> dict[str, Any]:
    """The index of a family. InputError: none there, or one of another version.

    command: says what builds it, for the errors' hint; None: as `command_for` has it.
    """
    path = out / INDEX
    found = read_json_object(path) if path.is_file() else None
    if found is not None and found.get("schema") == SCHEMA:
        return found
    hint = f"build it: {command() if command is not None else command_for(out)}"
    if found is None:
        raise InputError("no family there", where=str(out), expected=INDEX, hint=hint)
    raise InputError(
        "an index of another version",
        where=str(path),
        expected=f"schema {SCHEMA}",
        found=str(found.get("schema")),
        hint=hint,
    )


def model_entry(place: Path, out: Path) -> dict[str, str]:
    """Where a model lies, and the digest of its weights, which path and time of making do not change."""
    digests = [digest_file(file) for file in sorted(place.glob("*.safetensors"))]
    return {"path": relative(place, out), "weights_digest": digest_bytes(" ".join(digests).encode())}


def runs_of(base: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The runs of a base's entry, run 0 first: "experts", "multitask" and "gate" of each.

    Those of run 0 stand in the base's entry itself, where they stood before there were others.
    """
    return [base, *base.get("runs", ())]


def models_of(base: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
    """Every model of a base's entry by what it is: "base", the categories of its experts, "multitask", and
    the same of further runs as "spam/run 1".
    """
    found: dict[str, Mapping[str, str]] = {"base": base}
    for run, members in enumerate(runs_of(base)):
        models = {
            **members["experts"],
            **({"multitask": members["multitask"]} if members["multitask"] else {}),
        }
        found |= {label_in_run(name, run): model for name, model in models.items()}
    return found


def label_in_run(label: str, run: int) -> str:
    """The name of a model of a run in tables and records: that of run 0 is the plain one."""
    return f"{label}/run {run}" if run else label


def relative(path: Path, out: Path) -> str:
    """A path as the index has it."""
    place, home = path.resolve(), out.resolve()
    return str(place.relative_to(home)) if place.is_relative_to(home) else str(place)


def grids(index: Mapping[str, Any]) -> list[Grid]:
    """One grid a base and run: its tasks with what guessing scores, the scores of base, own expert and
    multitask model, and whether the expert passed the gate.
    """
    return [_grid(index, base, run) for base in index["bases"] for run in range(len(runs_of(base)))]


def _grid(index: Mapping[str, Any], base: Mapping[str, Any], run: int) -> Grid:
    gate = runs_of(base)[run]["gate"]
    scores = {
        (one["model"], one["suite"], one["task"]): as_number(one["value"], one["stderr"])
        for one in index["scores"]
        if one["base"] == base["name"] and (one["model"] == "base" or one.get("run", 0) == run)
    }
    rows = []
    for suite in index["suites"]:
        for task in suite["tasks"]:
            category = task["category"]
            names = ("base", category, "multitask")
            cells = [scores.get((name, suite["name"], task["task"]), MISSING) for name in names]
            guesses = [as_number(task.get(name)) for name in ("chance", *BASELINES)]
            passed = _passed(gate, category) if suite["role"] == "held-in" else MISSING
            rows.append((f"{category}/{task['task']}", task["metric"], *guesses, *cells, passed))
    size = f"size {base['size']}, {base['quality']}, {base['parameters'] / 1e6:.2f}M parameters"
    return Grid(f"{base['name']}: {size}" + (f", run {run}" if run else ""), _HEADS, tuple(rows))


def _passed(gate: Mapping[str, Any], category: str) -> str:
    return "yes" if gate[category]["passed"] else "no"


def verdicts(index: Mapping[str, Any]) -> list[list[str]]:
    """What the gate says of each expert, one sentence each; a list for each of `grids`."""
    return [
        [
            f"{category} {'passed' if verdict['passed'] else 'did not pass'}: {verdict['why']}"
            for category, verdict in run["gate"].items()
        ]
        for base in index["bases"]
        for run in runs_of(base)
    ]


def luck(index: Mapping[str, Any]) -> list[Grid]:
    """How far scores differ between trainings: one grid a base whose experts were trained more than once.

    Mean and sample standard deviation over runs. All runs answer the same items.
    """
    return [_luck(index, base) for base in index["bases"] if len(runs_of(base)) > 1]


def _luck(index: Mapping[str, Any], base: Mapping[str, Any]) -> Grid:
    scores: dict[tuple[str, str, str], list[float]] = {}
    for one in index["scores"]:
        if one["base"] == base["name"]:
            scores.setdefault((one["model"], one["suite"], one["task"]), []).append(one["value"])
    rows = []
    for suite in index["suites"]:
        for task in suite["tasks"]:
            cells: list[str] = []
            for name in (task["category"], "multitask"):
                values = scores.get((name, suite["name"], task["task"]), [])
                spread = stdev(values) if len(values) > 1 else None
                cells += [as_number(fmean(values) if values else None), as_number(spread)]
            rows.append((f"{task['category']}/{task['task']}", *cells))
    return Grid(f"{base['name']}: over {len(runs_of(base))} runs", _LUCK_HEADS, tuple(rows))


def as_markdown(index: Mapping[str, Any]) -> str:
    """All grids as Markdown tables, and the digests of the weights."""
    lines = [f"# The family {index['name']}", ""]
    for grid, sentences in zip(grids(index), verdicts(index), strict=True):
        lines += [f"## {grid.title}", "", _line(grid.heads), _line(["---"] * len(grid.heads))]
        lines += [*map(_line, grid.rows), "", GATE, ""]
        lines += [*(f"- {sentence}" for sentence in sentences), ""]
    for grid in luck(index):
        lines += [f"## {grid.title}", "", _line(grid.heads), _line(["---"] * len(grid.heads))]
        lines += [*map(_line, grid.rows), ""]
    lines += ["## Digests of the weights", "", _line(["model", "xxh3_128"]), _line(["---", "---"])]
    for base in index["bases"]:
        lines += [
            _line([f"{base['name']}/{name}", f"`{one['weights_digest']}`"])
            for name, one in models_of(base).items()
        ]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
