"""Tiny training data and configs: the last word decides the answer, so that a tiny model learns."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import yaml

from tests.helpers.models import write_model
from tests.helpers.tasks import write_rows


def learnable_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Questions of two to six words; the answer is the first choice if the last word's number is even."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        numbers = [draw.randrange(20, 26) for _ in range(draw.randrange(2, 7))]
        question = " ".join(f"w{number}" for number in numbers)
        rows.append({"question": question, "choices": ["w10", "w11"], "label": numbers[-1] % 2})
    return rows


def write_home(folder: Path, **model: Any) -> Path:
    """A folder with `base`, `train.jsonl` (64 rows) and `validation.jsonl` (20 rows); returns it."""
    write_model(folder / "base", **({"seed": 1, "vocab": 64, "hidden": 32, "tokenizer": True} | model))
    write_rows(folder / "train.jsonl", learnable_rows(64, seed=1))
    write_rows(folder / "validation.jsonl", learnable_rows(20, seed=2))
    return folder


def write_config(home: Path, **changes: Any) -> Path:
    """A config with two experts in `home`, paths absolute; `changes` replace top keys. Returns its path."""
    data = {"train": str(home / "train.jsonl"), "validation": str(home / "validation.jsonl")}
    content = {
        "base": str(home / "base"),
        "out": str(home / "experts"),
        "settings": {"learning_rate": 0.01, "batch_size": 8, "precision": "float32"},
        "experts": {"even": data, "odd": {**data, "settings": {"epochs": 2}}},
    }
    path = home / "experts.yaml"
    path.write_text(yaml.safe_dump(content | changes, sort_keys=False), encoding="utf-8")
    return path


def load_home(home: Path) -> tuple[Any, Any]:
    """(model in fp32 for evaluation, tokenizer) of the base in `home`."""
    return load_model(home / "base")


def load_model(folder: Path) -> tuple[Any, Any]:
    """(model in fp32 for evaluation, tokenizer) of a model directory."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)
