"""Models as lm-eval holds them: what cannot answer says why, by name, instead of scoring."""

from __future__ import annotations

import json
import math
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from evals.content import Digests, task_digest
from evals.harness import backend, evaluate_model
from evals.harness.tasks import load_task
from evals.models import Model
from evals.setting import Setting
from evals.suites import Suite
from pipeline.errors import CheckpointError, RunError
from pipeline.training.loading import in_words


@pytest.fixture
def own(home: Path, tmp_path: Path) -> Path:
    """A copy of the base that a test may break."""
    return shutil.copytree(home / "base", tmp_path / "broken")


@pytest.mark.parametrize("task", [0, 2], ids=["choice", "generation"])
def test_logits_that_are_no_numbers_end_in_an_error(own: Path, suite: Suite, task: int) -> None:
    """A model with a NaN in its weights has no score, whatever is asked of it: the error names the model."""
    weights = load_file(own / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, own / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunError, match="not numbers") as caught:
        evaluate_model(own, [suite.tasks[task]], Setting())
    assert caught.value.where == "broken"


def test_logits_without_an_end_are_no_numbers_either(own: Path, suite: Suite) -> None:
    """A logit of plus infinity, as half precision gives it, ends in an error and never in a score."""
    weights = load_file(own / "model.safetensors")
    weights["model.norm.weight"][0] = 1e20
    weights["lm_head.weight"].fill_(0.0)
    weights["lm_head.weight"][:, 0] = torch.where(torch.arange(64) % 2 == 0, 1e25, -1e25)
    save_file(weights, own / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunError, match="not numbers"):
        evaluate_model(own, suite.tasks[:1], Setting(dtype="float32"))


@pytest.mark.parametrize(
    ("row", "passes"),
    [([0.0, -math.inf], True), ([-math.inf] * 2, False), ([0.0, math.nan], False), ([0.0, math.inf], False)],
)
def test_a_place_where_no_token_may_come_has_no_score(row: list[float], passes: bool) -> None:
    """One token at minus infinity is right, all tokens of one place are not, whatever the others have."""
    logits = torch.tensor([[[1.0, 2.0], row]])  # one text, two places, two tokens
    watch = backend._Watch("broken")
    with nullcontext() if passes else pytest.raises(RunError, match="not numbers"):
        watch(None, None, SimpleNamespace(logits=logits))


def test_a_damaged_weight_file_is_named(own: Path, suite: Suite) -> None:
    """A weight file that was cut short is a CheckpointError that names the model."""
    content = (own / "model.safetensors").read_bytes()
    (own / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="cannot be loaded") as caught:
        evaluate_model(own, suite.tasks[:1], Setting())
    assert caught.value.where == str(own)


def test_a_model_without_a_tokenizer_is_named(own: Path, suite: Suite) -> None:
    """A directory without tokenizer files is a CheckpointError that says what is missing."""
    for file in own.glob("*token*"):
        file.unlink()
    with pytest.raises(CheckpointError, match="no tokenizer") as caught:
        evaluate_model(own, [suite.tasks[0]], Setting())
    assert caught.value.where == str(own)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("none of:\n (1) this\n (2) that"), "none of: (1) this (2) that"),
        (OSError("not there\nsee the manual"), "not there"),
        (KeyError("added_tokens"), "KeyError: 'added_tokens'"),
        (ValueError(), "ValueError"),
    ],
)
def test_a_library_s_reason_is_not_cut_short(error: Exception, words: str) -> None:
    """What a library says is kept to where it says something; a class name shows only where it must."""
    assert in_words(error) == words


def test_weights_that_do_not_fit_are_named(own: Path, suite: Suite) -> None:
    """Weights of another shape than the config says are a CheckpointError with the tensor and both shapes."""
    weights = load_file(own / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    weights["model.norm.weight"] = weights["model.norm.weight"][:3].clone()
    weights[name] = weights[name][:5].clone()
    save_file(weights, own / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="cannot be loaded") as caught:
        evaluate_model(own, [suite.tasks[0]], Setting())
    assert caught.value.where == str(own)
    assert caught.value.found == f"{name} is 5x32, not 64x32, model.norm.weight is 3, not 32"


def test_missing_weights_are_never_made_up(own: Path, suite: Suite) -> None:
    """A checkpoint that lacks a tensor is a CheckpointError naming it, not a model with random numbers."""
    weights = load_file(own / "model.safetensors")
    name = next(name for name in weights if "down_proj" in name)
    del weights[name]
    save_file(weights, own / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="cannot be loaded") as caught:
        evaluate_model(own, [suite.tasks[0]], Setting())
    assert name in caught.value.found


def test_a_refused_model_is_read_once(own: Path, suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that do not fit are found out once a worker, however many tasks ask, with the same words."""
    weights = load_file(own / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, own / "model.safetensors", metadata={"format": "pt"})
    words = []
    for task in suite.tasks[:2]:
        with pytest.raises(CheckpointError) as caught:
            evaluate_model(own, [task], Setting())
        words.append(str(caught.value))
        monkeypatch.setattr(backend, "_from_directory", lambda *_: pytest.fail("read again"))
    assert words[0] == words[1]
    assert all(error.__traceback__ is None for error in backend._refused.values()), (
        "it would hold the weights"
    )


def test_requests_are_let_go(home: Path, suite: Suite) -> None:
    """A task that is kept for the next model keeps no requests of the one before."""
    for task in (suite.tasks[0], suite.tasks[2]):
        evaluate_model(home / "base", [task], Setting(limit=2))
        assert not load_task(task, task_digest(task, Digests())).instances


def test_a_tokenizer_of_another_model_is_named(own: Path, suite: Suite) -> None:
    """Tokens beyond the embedding matrix are a CheckpointError that counts both."""
    config = json.loads((own / "config.json").read_text())
    weights = load_file(own / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = weights[name][:6].clone()
    save_file(weights, own / "model.safetensors", metadata={"format": "pt"})
    (own / "config.json").write_text(json.dumps({**config, "vocab_size": 6}))
    with pytest.raises(CheckpointError, match="tokenizer") as caught:
        evaluate_model(own, [suite.tasks[0]], Setting())
    assert "64 tokens for 6 embeddings" in caught.value.found


def test_one_model_is_kept_and_serves_every_task(
    home: Path, suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks of one model load it once; a limit is no reason to load it again, another model is."""
    loads: list[str] = []
    real = backend._from_directory

    def counted(model: Model, setting: Setting) -> object:
        loads.append(model.label)
        return real(model, setting)

    monkeypatch.setattr(backend, "_from_directory", counted)
    backend._kept.clear()
    evaluate_model(home / "base", suite.tasks[:2], Setting(limit=2))
    evaluate_model(home / "base", suite.tasks[2:], Setting(limit=3))
    evaluate_model(home / "expert", suite.tasks[:1], Setting(limit=2))
    assert loads == ["base", "expert"]
