"""Runs of a family: experts trained again with other seeds, each scored and judged by itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evals.family.config import load_family
from evals.family.index import grids, luck, models_of, read_index, verdicts
from evals.family.status import describe
from pipeline.training.expert import RECORD
from tests.helpers.family_builds import build


def check_luck(twice: Mapping[str, Any]) -> None:
    """Each base's table of luck has the mean of two runs and their sample standard deviation, by task."""
    for grid, base in zip(luck(twice), twice["bases"], strict=True):
        assert grid.title == f"{base['name']}: over 2 runs" and len(grid.rows) == 3
        for name, *cells in grid.rows:
            task = name.split("/")[1]
            for model, (mean, spread) in ((task, cells[:2]), ("multitask", cells[2:])):
                seen = [
                    one["value"]
                    for one in twice["scores"]
                    if (one["base"], one["model"], one["task"]) == (base["name"], model, task)
                    and one["suite"] != "validation"
                ]
                if seen:
                    a, b = seen
                    assert (mean, spread) == (f"{(a + b) / 2:.3f}", f"{abs(a - b) / 2**0.5:.3f}")
                else:
                    assert (mean, spread) == ("–", "–") and task == "size_again"


def test_repeats_add_runs_and_keep_what_is_there(
    family_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `repeat: 2` every expert and multitask model is trained once more with another seed, from the same
    base and rows, scored and judged by itself; nothing that was there is trained, scored or moved, and a
    build that asks for fewer runs keeps them all.
    """
    own = shutil.copytree(family_home, tmp_path / "own")
    monkeypatch.chdir(own)
    once = read_index(own / "family")
    twice, ran = build(load_family("tiny.yaml").repeated(2))
    trained = sorted(unit for unit in ran if unit.startswith("train/"))
    names = ("colour", "multitask", "size")
    assert trained == [f"train/{base}/run 1/{name}" for base in ("strong", "weak") for name in names]
    scored = [unit for unit in ran if " on " in unit]
    assert scored and all("/run 1" in unit.partition(" on ")[0] for unit in scored)
    for before, base in zip(once["bases"], twice["bases"], strict=True):
        (run,) = base["runs"]
        assert {**base, "runs": []} == before and run["run"] == 1
        assert set(run["gate"]) == set(base["gate"]) and run["experts"]
        for name, model in models_of(base).items():
            assert (own / "family" / model["path"] / "config.json").is_file()
            if name.endswith("/run 1"):
                first = models_of(base)[name.removesuffix("/run 1")]
                assert model["path"] == first["path"].replace("experts/", "runs/1/")
                assert model["weights_digest"] != first["weights_digest"]
                records = [
                    json.loads((own / "family" / one["path"] / RECORD).read_text()) for one in (first, model)
                ]
                seeds = [record["settings"].pop("seed") for record in records]
                assert seeds == [0, 1] and records[0]["settings"] == records[1]["settings"]
    assert [one for one in twice["scores"] if one["run"] == 0] == once["scores"]
    assert {one["model"] for one in twice["scores"] if one["run"] == 1} == set(names)
    assert build(load_family("tiny.yaml")) == (twice, []), "fewer runs than are there: all are kept"
    check_luck(twice)
    page = (own / "family" / "family.md").read_text()
    assert page.count("parameters, run 1\n") == 2 and page.count("`") == 2 * (8 + 6)
    lines = list(describe(load_family("tiny.yaml")))
    assert "weak: base done, 3 of 3 experts" in lines and "weak, run 1: 3 of 3 experts" in lines


def test_an_index_of_before_runs_were_known_is_one_run(family_home: Path, tmp_path: Path) -> None:
    """An index without runs shows one table a base, as it did, and its experts are those of run 0."""
    index = read_index(family_home / "family")
    assert all(base["runs"] == [] for base in index["bases"])
    old = json.loads(json.dumps(index))
    for base in old["bases"]:
        del base["runs"]
    for score in old["scores"]:
        del score["run"]
    assert grids(old) == grids(index) and len(grids(old)) == 2
    assert verdicts(old) == verdicts(index) and luck(old) == []
