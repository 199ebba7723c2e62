"""The manifest: what it records, what its digests depend on, what it refuses when it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.checkpoint.files import digest_file
from pipeline.checkpoint.manifest import MANIFEST_NAME, read_manifest
from pipeline.errors import CheckpointError
from tests.helpers.finished import finish, manifest_of


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A complete model in two shards."""
    return finish(tmp_path / "model", shards=2)


def test_a_manifest_is_read_back_as_it_was_written(model: Path) -> None:
    """Writing and reading give the same manifest, with every file's size and digest."""
    manifest = read_manifest(model)
    assert manifest == manifest_of(model)
    assert manifest.version == "1.2.3"
    assert {file.name for file in manifest.outputs} == {path.name for path in model.iterdir()} - {
        MANIFEST_NAME
    }
    for file in manifest.outputs:
        assert file.size_bytes == (model / file.name).stat().st_size
        assert file.digest == digest_file(model / file.name)


def test_known_weight_digests_are_not_computed_again(model: Path) -> None:
    """A digest that is handed in is used, so large files are not read twice."""
    name = "model-00001-of-00002.safetensors"
    manifest = manifest_of(model, weight_digests={name: "1" * 32})
    assert next(file.digest for file in manifest.outputs if file.name == name) == "1" * 32


def test_model_digest_depends_on_content_alone(tmp_path: Path) -> None:
    """Place, time, card, inputs and records leave it; a weight, the config or the tokenizer changes it."""
    first = finish(tmp_path / "a")
    other = finish(tmp_path / "b")
    (other / "README.md").write_text("another card")
    for name in ("mergescale_training.json", "training_log.jsonl", "loss.svg"):
        (other / name).write_text("how it was trained")
    before = manifest_of(first)
    assert manifest_of(other, inputs=[], timings={}, fingerprint="0" * 32).model_digest == before.model_digest
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        content = (other / name).read_bytes()
        (other / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        changed = manifest_of(other)
        assert changed.model_digest != before.model_digest, name
        assert (changed.weights_digest == before.weights_digest) is (name != "model.safetensors")
        (other / name).write_bytes(content)
    assert manifest_of(other).model_digest == before.model_digest


BREAKS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another format": (lambda m: m.update(format=2), "format"),
    "no outputs": (lambda m: m.pop("outputs"), "outputs"),
    "no weights": (lambda m: m.update(outputs=[]), "outputs"),
    "outputs of text": (lambda m: m.update(outputs=["a"]), "outputs[0]"),
    "size as text": (lambda m: m["outputs"][1].update(size_bytes="7"), "outputs[1].size_bytes"),
    "size true": (lambda m: m["outputs"][1].update(size_bytes=True), "outputs[1].size_bytes"),
    "digest too short": (lambda m: m["outputs"][0].update(digest="ab"), "outputs[0].digest"),
    "a path outside": (lambda m: m["outputs"][0].update(name="../../etc/passwd"), "outputs[0].name"),
    "an absolute path": (lambda m: m["outputs"][0].update(name="/etc/passwd"), "outputs[0].name"),
    "input without a path": (lambda m: m["inputs"][0]["files"][0].pop("path"), "inputs[0].files[0].path"),
    "commit a number": (lambda m: m["inputs"][0].update(commit=3), "inputs[0].commit"),
    "config a list": (lambda m: m.update(config=[]), "config"),
    "no fingerprint": (lambda m: m.update(fingerprint=None), "fingerprint"),
    "another model digest": (lambda m: m.update(model_digest="0" * 32), "model_digest"),
    "what is not finite as text": (lambda m: m.update(nonfinite="none"), "nonfinite"),
    "a tensor as text": (lambda m: m["nonfinite"].append("w"), "nonfinite[2]"),
    "no count": (lambda m: m["nonfinite"][0].pop("count"), "nonfinite[0].count"),
    "a count of none": (lambda m: m["nonfinite"][1].update(count=0, overflowed=0), "nonfinite[1].count"),
    "a count of true": (lambda m: m["nonfinite"][1].update(count=True), "nonfinite[1].count"),
    "more overflowed": (lambda m: m["nonfinite"][0].update(overflowed=3), "nonfinite[0].overflowed"),
    "all overflowed": (lambda m: m["nonfinite"][0].update(overflowed=2), "nonfinite[0].overflowed"),
    "no cause": (lambda m: m["nonfinite"][1].update(overflowed=3), "nonfinite[1].overflowed"),
    "a model by number": (lambda m: m["nonfinite"][0].update(model=0), "nonfinite[0].model"),
    "a type of integers": (lambda m: m["nonfinite"][0].update(dtype="int8"), "nonfinite[0].dtype"),
    "another weights digest": (lambda m: m.update(weights_digest="0" * 32), "weights_digest"),
}


@pytest.mark.parametrize("case", BREAKS)
def test_a_damaged_manifest_is_refused_by_field(case: str, model: Path) -> None:
    """A manifest with a wrong field is an error whose `where` is the path of that field."""
    change, where = BREAKS[case]
    content = json.loads((model / MANIFEST_NAME).read_text())
    change(content)
    (model / MANIFEST_NAME).write_text(json.dumps(content))
    with pytest.raises(CheckpointError) as caught:
        read_manifest(model)
    assert caught.value.where == f"{model / MANIFEST_NAME}: {where}"
    assert caught.value.expected and caught.value.found


def test_a_directory_without_a_manifest_is_no_output(tmp_path: Path) -> None:
    """A plain directory and a missing one are told apart from a merge."""
    for path, found in ((tmp_path, "no such file"), (tmp_path / "gone", "no directory")):
        with pytest.raises(CheckpointError) as caught:
            read_manifest(path)
        assert (caught.value.expected, caught.value.found) == (MANIFEST_NAME, found)
