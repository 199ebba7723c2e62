"""Model directories: what counts as the same model, and what their manifest tells."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from evals.content import Digests
from evals.models import describe_model
from pipeline.checkpoint.manifest import make_manifest, write_manifest
from pipeline.errors import CheckpointError
from tests.helpers.models import write_model


def digest(path: Path) -> str:
    """The model's digest, with nothing remembered."""
    return describe_model(path, Digests()).digest


def with_manifest(path: Path, base: Path, expert: Path) -> None:
    """Write the manifest that a merge of base and expert would leave in `path`."""
    inputs = [
        {"ref": place.name, "role": role, "directory": str(place), "commit": None, "files": []}
        for role, place in (("base", base), ("expert", expert))
    ]
    manifest = make_manifest(
        path,
        fingerprint="0" * 32,
        config={"merge_method": "ties"},
        inputs=inputs,
        libraries={"mergescale": "0.1.0"},
        timings={},
    )
    write_manifest(path, manifest)


def test_everything_that_may_change_a_score_changes_the_digest(tmp_path: Path) -> None:
    """Weights, config and tokenizer are part of a model's digest; its place, name and README are not."""
    base = write_model(tmp_path / "base", tokenizer=True)
    copy = shutil.copytree(base, tmp_path / "elsewhere")
    (copy / "README.md").write_text("words")
    assert digest(copy) == digest(base)
    seen = {digest(base)}
    for name, change in (
        ("config.json", b'"rms_norm_eps": 1e-05'),
        ("tokenizer_config.json", b'"model_max_length": 64'),
        ("model.safetensors", (base / "model.safetensors").read_bytes()[-2:]),
    ):
        content = (copy / name).read_bytes()
        assert change in content
        (copy / name).write_bytes(content[: content.rindex(change)] + change.swapcase()[:-1] + b"7")
        seen.add(digest(copy))
    assert len(seen) == 4


def test_the_manifest_tells_the_same_digest_as_the_files(tmp_path: Path) -> None:
    """A merged model has one digest, whether its manifest is believed or its bytes are read."""
    base, expert = write_model(tmp_path / "base"), write_model(tmp_path / "expert", seed=1)
    merged = write_model(tmp_path / "merged", seed=2)
    from_bytes = digest(merged)
    with_manifest(merged, base, expert)
    model = describe_model(merged, Digests())
    assert model.digest == from_bytes
    assert (model.method, model.base, model.inputs) == ("ties", str(base), (str(expert),))
    assert model.weights_bytes == (merged / "model.safetensors").stat().st_size


def test_a_manifest_is_not_believed_about_changed_files(tmp_path: Path) -> None:
    """Weights written after the manifest are read, even when their size is the same."""
    base, expert = write_model(tmp_path / "base"), write_model(tmp_path / "expert", seed=1)
    merged = write_model(tmp_path / "merged", seed=2)
    with_manifest(merged, base, expert)
    before = digest(merged)
    shutil.copyfile(expert / "model.safetensors", merged / "model.safetensors")
    later = (merged / "mergescale_manifest.json").stat().st_mtime_ns + 1
    os.utime(merged / "model.safetensors", ns=(later, later))
    assert digest(merged) != before


def test_a_manifest_is_not_believed_about_files_that_were_moved_in(tmp_path: Path) -> None:
    """Older weights of the same size in the place of the merged ones are read, though their time is old."""
    base, expert = write_model(tmp_path / "base"), write_model(tmp_path / "expert", seed=1)
    old = (expert / "model.safetensors").stat().st_mtime_ns - 3_600_000_000_000
    os.utime(expert / "model.safetensors", ns=(old, old))
    merged = write_model(tmp_path / "merged", seed=2)
    with_manifest(merged, base, expert)
    before = digest(merged)
    (expert / "model.safetensors").rename(merged / "model.safetensors")
    assert digest(merged) != before


def test_remembered_digests_are_those_of_the_bytes(tmp_path: Path) -> None:
    """A memory saves reading, and a file changed in place under the same size and time is read again."""
    file = tmp_path / "file"
    file.write_bytes(b"one")
    old = file.stat().st_mtime_ns - 3_600_000_000_000
    os.utime(file, ns=(old, old))
    memory = tmp_path / "memory.json"
    first = Digests(memory)
    value = first.of_file(file)
    first.save()
    assert Digests(memory).of_file(file) == value == Digests().of_file(file)
    file.write_bytes(b"two")
    os.utime(file, ns=(old, old))
    assert Digests(memory).of_file(file) == Digests().of_file(file) != value


def test_a_memory_is_used_for_settled_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A settled file is remembered and not read again; one that has just changed is not remembered."""
    file, memory = tmp_path / "file", tmp_path / "memory.json"
    file.write_bytes(b"one")
    fresh = Digests(memory)
    fresh.of_file(file)
    fresh.save()
    assert json.loads(memory.read_text()) == {}
    monkeypatch.setattr("evals.content._SETTLED_NS", -1)
    settled = Digests(memory)
    value = settled.of_file(file)
    settled.save()
    monkeypatch.setattr("evals.content.digest_file", lambda path: pytest.fail("read again"))
    assert Digests(memory).of_file(file) == value


def test_a_damaged_memory_is_no_memory(tmp_path: Path) -> None:
    """A memory that is no JSON costs reading the files again, nothing else."""
    (tmp_path / "file").write_bytes(b"one")
    (tmp_path / "memory.json").write_text("{")
    assert Digests(tmp_path / "memory.json").of_file(tmp_path / "file") == Digests().of_file(
        tmp_path / "file"
    )


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_what_is_no_model_is_refused(tmp_path: Path, missing: str) -> None:
    """A directory without config or weights, or no directory, is a CheckpointError that names it."""
    model = write_model(tmp_path / "model")
    (model / missing).unlink()
    for path in (model, tmp_path / "gone"):
        with pytest.raises(CheckpointError) as caught:
            describe_model(path, Digests())
        assert caught.value.where == str(path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "pytorch_model-00001-of-00002.bin"])
def test_pickled_weights_are_refused_as_a_merge_refuses_them(tmp_path: Path, name: str) -> None:
    """A model whose weights are pickles is not opened: the error says what to write instead."""
    model = write_model(tmp_path / "model", tokenizer=True)
    (model / "model.safetensors").rename(model / name)
    with pytest.raises(CheckpointError, match="PyTorch pickles") as caught:
        describe_model(model, Digests())
    assert caught.value.found == name and "save_pretrained" in caught.value.hint
