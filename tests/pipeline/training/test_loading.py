"""Bases as transformers loads them: whole, or refused in words before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from pipeline.errors import CheckpointError
from pipeline.training.config import load_train_config
from pipeline.training.expert import train_expert
from pipeline.training.loading import (
    check_trainable,
    find_left_out,
    load_config,
    load_tokenizer,
    load_weights,
)
from pipeline.training.run import plan_training
from pipeline.training.settings import TrainSettings
from tests.helpers.architectures import KINDS, write_architecture
from tests.helpers.models import write_model
from tests.helpers.training import write_config, write_home

WORDS = {
    "t5": "an encoder with a decoder",
    "bart": "an encoder with a decoder",
    "bert": "reads the answer",
    "bert with its head": "reads the answer",
    "classifier": "another head",
    "gemma3": "several modalities",
    "qwen3.5": "several modalities",
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_decoder_of_text_is_no_base(tmp_path: Path, kind: str) -> None:
    """A model that could be trained only in part, or to read its own answers, is refused in words."""
    base = write_architecture(tmp_path / "base", kind)
    with pytest.raises(CheckpointError, match="cannot be trained") as caught:
        check_trainable(base, "my base")
    assert caught.value.where == "my base" and WORDS[kind] in caught.value.found


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("missing head", "no weights for lm_head.weight"),
        ("missing layer", "no weights for model.layers.1.mlp.up_proj.weight"),
        ("another shape", "model.norm.weight is 3, not 32"),
    ],
)
def test_an_incomplete_base_is_refused_before_any_expert(tmp_path: Path, change: str, found: str) -> None:
    """Weights that the base lacks or that do not fit are named by the plan and by the trainer itself.

    Nothing is trained from random numbers, and nothing is written.
    """
    home = write_home(tmp_path)
    weights = load_file(home / "base/model.safetensors")
    if change == "another shape":
        weights["model.norm.weight"] = weights["model.norm.weight"][:3].clone()
    else:
        del weights["lm_head.weight" if change == "missing head" else "model.layers.1.mlp.up_proj.weight"]
    save_file(weights, home / "base/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="cannot be loaded") as planned:
        plan_training(load_train_config(write_config(home)))
    with pytest.raises(CheckpointError, match="cannot be loaded") as trained:
        train_expert(home / "base", [home / "train.jsonl"], home / "out", TrainSettings(max_steps=1))
    assert planned.value.found == trained.value.found == found
    assert not (home / "out").exists() and not (home / "experts").exists()


@pytest.mark.parametrize("change", ["fewer layers", "biases of another architecture"])
def test_a_config_that_leaves_weights_out_is_refused(tmp_path: Path, change: str) -> None:
    """Layers beyond the config's count, and biases that its architecture has not, are named: what would be
    trained or scored is a part of the model.
    """
    base = write_model(tmp_path, tokenizer=True)
    if change == "fewer layers":
        table = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps(table | {"num_hidden_layers": 1}))
        left_out = "model.layers.1."
    else:
        left_out = "model.layers.0.self_attn.q_proj.bias"
        weights = load_file(base / "model.safetensors")
        weights[left_out] = weights["model.layers.0.self_attn.q_proj.weight"][:, 0].clone()
        save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="cannot be loaded") as caught:
        check_trainable(base, "base")
    assert "leaves out" in caught.value.found and left_out in caught.value.found
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_weights(AutoModelForCausalLM, base, "base", "auto")


def test_what_no_part_of_a_model_is_for_may_be_left_out() -> None:
    """Buffers, heads of pretraining, poolers, other modalities and prediction layers that the config counts
    are no part of what was loaded; the same layers uncounted are.
    """
    read = ["model.embed.weight", *(f"model.layers.{i}.mlp.up.weight" for i in range(2)), "lm_head.weight"]
    others = [
        "model.layers.0.attn.masked_bias",
        "model.layers.0.attn.bias",
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "mtp.fc.weight",
        "bert.pooler.dense.weight",
        "cls.seq_relationship.bias",
        "model.visual.blocks.30.mlp.weight",
        "model.embed.position_ids",
    ]
    further = ["model.layers.2.mlp.up.weight"]
    assert find_left_out(read, others + further, further_layers=1) == []
    assert find_left_out(read, others + further) == further
    assert find_left_out(read, ["lm_head.bias"]) == ["lm_head.bias"]


def test_a_tied_base_needs_no_head_of_its_own(tmp_path: Path) -> None:
    """A tied output head is not stored, and not missing."""
    check_trainable(write_model(tmp_path, tied=True, tokenizer=True), "base")


@pytest.mark.parametrize("bars", [True, False])
def test_loading_shows_no_bar_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], *, bars: bool
) -> None:
    """Whether weights are checked or loaded, nothing reaches the screen; the caller's setting stays."""
    base = write_model(tmp_path, tokenizer=True)
    before = logging.is_progress_bar_enabled()
    _set_bars(bars)
    try:
        check_trainable(base, "base")
        load_weights(AutoModelForCausalLM, base, "base", "auto")
        assert logging.is_progress_bar_enabled() is bars
    finally:
        _set_bars(before)
    assert capfd.readouterr() == ("", "")


def _set_bars(on: bool) -> None:
    (logging.enable_progress_bar if on else logging.disable_progress_bar)()


@pytest.mark.parametrize(
    ("file", "load", "table", "named"),
    [
        (
            "config.json",
            load_config,
            {"model_type": "own", "auto_map": {"AutoConfig": "conf.Own"}},
            "conf.Own",
        ),
        (
            "tokenizer_config.json",
            load_tokenizer,
            {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["tok.Own", None]}},
            "tok.Own",
        ),
        (
            "tokenizer_config.json",
            load_tokenizer,
            {"tokenizer_class": "Own", "auto_map": ["tok.Own", None]},
            "tok.Own",
        ),
    ],
)
def test_code_of_a_model_is_not_run_and_no_question_asked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], file: str, load: Any, table: dict[str, Any], named: str
) -> None:
    """A model that brings its classes along is refused in one sentence that names them; they do not run."""
    base = write_model(tmp_path, tokenizer=True)
    for module in ("conf", "tok"):
        (base / f"{module}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    path = base / file
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | table))
    with pytest.raises(CheckpointError, match="code of its own, which is not run") as caught:
        load(base, "my model")
    assert caught.value.where == "my model" and caught.value.found == f"auto_map in {file} names {named}"
    assert caught.value.hint and not (tmp_path / "ran").exists()
    assert capfd.readouterr().out == ""


def test_a_built_in_model_that_also_brings_code_is_loaded_without_it(tmp_path: Path) -> None:
    """Where transformers knows the architecture, `auto_map` changes nothing."""
    base = write_model(tmp_path, tokenizer=True)
    table = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(table | {"auto_map": {"AutoConfig": "conf.Own"}}))
    assert load_config(base, "my model").model_type == table["model_type"]
