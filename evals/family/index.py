"""What a family has come to: family.json for programs, family.md for people. It computes no score.

Paths inside the family's directory are written relative to it, so that it can be moved.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
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


def models_of(base: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
    """Every model of a base's entry by what it is: "base", the categories of its experts, "multitask"."""
    multitask = {"multitask": base["multitask"]} if base["multitask"] else {}
    return {"base": base, **base["experts"], **multitask}


def relative(path: Path, out: Path) -> str:
    """A path as the index has it."""
    place, home = path.resolve(), out.resolve()
    return str(place.relative_to(home)) if place.is_relative_to(home) else str(place)


def grids(index: Mapping[str, Any]) -> list[Grid]:
    """One grid a base: its tasks with what guessing scores, the scores of base, own expert and multitask
    model, and whether the expert passed the gate.
    """
    return [_grid(index, base) for base in index["bases"]]


def _grid(index: Mapping[str, Any], base: Mapping[str, Any]) -> Grid:
    scores = {
        (one["model"], one["suite"], one["task"]): as_number(one["value"], one["stderr"])
        for one in index["scores"]
        if one["base"] == base["name"]
    }
    rows = []
    for suite in index["suites"]:
        for task in suite["tasks"]:
            category = task["category"]
            names = ("base", category, "multitask")
            cells = [scores.get((name, suite["name"], task["task"]), MISSING) for name in names]
            guesses = [as_number(task.get(name)) for name in ("chance", *BASELINES)]
            passed = _passed(base, category) if suite["role"] == "held-in" else MISSING
            rows.append((f"{category}/{task['task']}", task["metric"], *guesses, *cells, passed))
    title = (
        f"{base['name']}: size {base['size']}, {base['quality']}, {base['parameters'] / 1e6:.2f}M parameters"
    )
    return Grid(title, _HEADS, tuple(rows))


def _passed(base: Mapping[str, Any], category: str) -> str:
    return "yes" if base["gate"][category]["passed"] else "no"


def verdicts(base: Mapping[str, Any]) -> list[str]:
    """What the gate says of each expert of a base, one sentence each."""
    return [
        f"{category} {'passed' if verdict['passed'] else 'did not pass'}: {verdict['why']}"
        for category, verdict in base["gate"].items()
    ]


def as_markdown(index: Mapping[str, Any]) -> str:
    """All grids as Markdown tables, and the digests of the weights."""
    lines = [f"# The family {index['name']}", ""]
    for base, grid in zip(index["bases"], grids(index), strict=True):
        lines += [f"## {grid.title}", "", _line(grid.heads), _line(["---"] * len(grid.heads))]
        lines += [*map(_line, grid.rows), "", GATE, ""]
        lines += [*(f"- {sentence}" for sentence in verdicts(base)), ""]
    lines += ["## Digests of the weights", "", _line(["model", "xxh3_128"]), _line(["---", "---"])]
    for base in index["bases"]:
        lines += [
            _line([f"{base['name']}/{name}", f"`{one['weights_digest']}`"])
            for name, one in models_of(base).items()
        ]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
