"""Run small merges through the real engine and look at what came out. For tests of any wing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cluster.contract import Executor
from cluster.local import LocalExecutor
from pipeline import load_config, plan_merge, run_merge
from pipeline.checkpoint.manifest import Manifest
from pipeline.plan import cost, cut
from pipeline.plan.plan import Limits, MergePlan
from tests.helpers.models import write_family

#: Per-model and global parameters that make each method do all it can on tiny tensors.
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "linear": ({"weight": 0.7}, {}),
    "task_arithmetic": ({"weight": 0.6}, {"lambda": 0.8}),
    "ties": ({"weight": 1.0, "density": 0.3}, {}),
    "ties-model": ({"weight": 1.0, "density": 0.3}, {"trim_scope": "model", "zero_sign": "majority"}),
    "dare_linear": ({"weight": 0.5, "density": 0.4}, {"rescale": "expectation", "seed": 3}),
    "dare_ties": ({"weight": 0.5, "density": 0.4}, {"rescale": "l1", "trim_density": 0.5, "seed": 3}),
}


def write_config(path: Path, setting: str, base: Path, experts: list[Path], **top: Any) -> Path:
    """A config file for one of SETTINGS; weights rise a little from expert to expert."""
    per_model, parameters = SETTINGS[setting]
    models = [
        {"model": str(expert), "parameters": {**per_model, "weight": per_model["weight"] + 0.1 * number}}
        for number, expert in enumerate(experts)
    ]
    method = setting.split("-")[0]
    config = {"merge_method": method, "models": models, "parameters": parameters, **top}
    if method != "linear":
        config["base_model"] = str(base)
    path.write_text(json.dumps(config))
    return path


def small_tiles(
    monkeypatch: pytest.MonkeyPatch, tile: int = 48, load: int = 96, unit_bytes: int = 4096
) -> None:
    """Shrink tiles, loads, tables and units so that tiny tensors are cut as huge ones are."""
    monkeypatch.setitem(cost.TILE_ELEMENTS, "cpu", tile)
    monkeypatch.setitem(cost.LOAD_ELEMENTS, "cpu", load)
    monkeypatch.setattr(cost, "TABLE_BYTES", 0)
    monkeypatch.setattr(cut, "MIN_UNIT_BYTES", unit_bytes)


def ties_in_small_units(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The config of a TIES merge over the whole model, cut into many small units, with its models."""
    small_tiles(monkeypatch, unit_bytes=2000)
    base, experts = write_family(directory / "models", experts=2, dtype="bfloat16", tokenizer=True)
    return write_config(directory / "merge.json", "ties-model", base, experts)


def merge_into_files(config: Path, out: Path, *, fresh: bool = False) -> None:
    """Merge into several small weight files, as large models are."""
    merge(config, out, shard_size_bytes=4000, fresh=fresh)


def plan(
    config: Path, *, memory_bytes: int = 1 << 30, workers: int = 2, shard_size_bytes: int = 10**9
) -> MergePlan:
    """Load and plan a config on the CPU."""
    limits = Limits(memory_bytes, workers)
    return plan_merge(load_config(config), limits=limits, shard_size_bytes=shard_size_bytes)


def merge(
    config: Path, out: Path, *, executor: Executor | None = None, fresh: bool = False, **knobs: Any
) -> Manifest:
    """Plan and run; a local executor with `workers` threads unless one is given."""
    with executor or LocalExecutor(knobs.get("workers", 2)) as running:
        return run_merge(plan(config, **knobs), out, running, fresh=fresh)


def tensors(model: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a model, by name."""
    found: dict[str, torch.Tensor] = {}
    for file in sorted(model.glob("*.safetensors")):
        found |= load_file(file)
    return found


def weight_bytes(model: Path) -> dict[str, str]:
    """sha256 of every weight file, by name."""
    files = sorted(model.glob("*.safetensors"))
    assert files, f"no weights in {model}"
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
