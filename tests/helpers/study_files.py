"""Study files and family indexes made up for tests: no model lies where they point."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.helpers.tasks import choice_task, write_suite

CATEGORIES = ("colour", "size", "shape", "taste")


def write_suites(folder: Path, categories: Sequence[str] = CATEGORIES) -> None:
    """held-in.yaml and validation.yaml with a task a category, held-out.yaml with one of another."""
    for name in ("held-in", "validation"):
        write_suite(folder / f"{name}.yaml", {one: [choice_task(f"{one}-task")] for one in categories})
    write_suite(folder / "held-out.yaml", {"other": [choice_task("other")]}, role="held-out")


def base(name: str, categories: Sequence[str] = CATEGORIES, **changes: Any) -> dict[str, Any]:
    """A base as a study file lists it: models under m/NAME/."""
    experts = {category: f"m/{name}/{category}" for category in categories}
    return {
        "name": name,
        "size": "1B",
        "quality": "pt",
        "model": f"m/{name}/base",
        "experts": experts,
    } | changes


def study(**changes: Any) -> dict[str, Any]:
    """A small study of one listed base: averaging and DARE, 2 and 4 experts, two seeds; some keys replaced.

    A key whose new value is None is left out.
    """
    content: dict[str, Any] = {
        "name": "small",
        "out": "out",
        "suites": {"held-in": "held-in.yaml", "held-out": "held-out.yaml"},
        "bases": [base("a")],
        "methods": {
            "averaging": {"merge_method": "linear"},
            "dare": {"merge_method": "dare_ties", "parameters": {"density": 0.5}},
        },
        "experts": [2, 4],
        "seeds": [0, 1],
    }
    return {key: value for key, value in (content | changes).items() if value is not None}


def write_study(folder: Path, **changes: Any) -> Path:
    """A study file in the folder."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study(**changes), sort_keys=False))
    return path


def write_family_index(
    home: Path,
    bases: Mapping[str, tuple[str, str]],
    categories: Sequence[str] = CATEGORIES,
    failed: Mapping[str, Sequence[str]] | None = None,
    left_out: Sequence[str] = (),
    runs: Mapping[str, int] | None = None,
) -> None:
    """family.json of a family of these bases: name -> (size, quality).

    `failed`: base -> categories whose expert did not pass.  `runs`: base -> how often its experts were
    trained, once where it says nothing.
    """
    entries = []
    for name, (size, quality) in bases.items():
        lost = (failed or {}).get(name, ())
        gate = {one: {"passed": one not in lost, "why": f"accuracy of {one}"} for one in categories}
        places = [f"runs/{run}" if run else "experts" for run in range((runs or {}).get(name, 1))]
        first, *further = (
            {
                "experts": {one: {"path": f"{place}/{name}/{one}"} for one in categories if one not in lost},
                "multitask": {"path": f"{place}/{name}/multitask"},
                "gate": gate,
            }
            for place in places
        )
        entries.append(
            {
                "name": name,
                "size": size,
                "quality": quality,
                "parameters": 1000,
                "path": f"bases/{name}",
                **first,
                "runs": [{"run": number, **entry} for number, entry in enumerate(further, start=1)],
            }
        )
    index = {
        "schema": 1,
        "suites": [{"name": "held-in", "role": "held-in", "left_out": list(left_out)}],
        "bases": entries,
    }
    home.mkdir(parents=True, exist_ok=True)
    (home / "family.json").write_text(json.dumps(index))
