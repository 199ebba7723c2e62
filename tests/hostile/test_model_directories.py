"""Directories that are no model we can merge: each ends in one error that says why and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.checkpoint.locate import read_index
from pipeline.errors import CheckpointError
from pipeline.values import ModelRef
from tests.helpers.models import INDEX_NAME, write_model


def refuse(path: Path | str, revision: str | None = None, beside: Path | None = None) -> CheckpointError:
    """Read a model and return the error that it must cause."""
    with pytest.raises(CheckpointError) as caught:
        read_index(ModelRef(str(path), revision), beside=beside)
    error = caught.value
    assert error.what and error.where
    return error


def edit_index(model: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the index file of a sharded model."""
    index = json.loads((model / INDEX_NAME).read_text())
    change(index)
    (model / INDEX_NAME).write_text(json.dumps(index))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A good model in three files."""
    return write_model(tmp_path / "model", shards=3)


def test_an_empty_directory(tmp_path: Path) -> None:
    """A directory without a file is called empty."""
    assert refuse(tmp_path).what == "the directory is empty"


def test_a_directory_without_weights(tmp_path: Path) -> None:
    """A directory of other files has no weights, and some of them are listed."""
    (tmp_path / "notes.txt").touch()
    error = refuse(tmp_path)
    assert error.what == "no weights here"
    assert error.found == "notes.txt"


@pytest.mark.parametrize(
    ("name", "format_", "hint"),
    [
        ("pytorch_model.bin", "PyTorch pickles", "save_pretrained"),
        ("consolidated.00.pth", "PyTorch pickles", "save_pretrained"),
        ("model.pt", "PyTorch pickles", "save_pretrained"),
        ("llama-q4.gguf", "GGUF", "gguf_file"),
        ("__0_0.distcp", "a torch distributed checkpoint", "format_utils"),
        ("zero_to_fp32.py", "a DeepSpeed ZeRO checkpoint", "zero_to_fp32.py"),
        ("tf_model.h5", "TensorFlow or Flax weights", "save_pretrained"),
        ("flax_model.msgpack", "TensorFlow or Flax weights", "save_pretrained"),
    ],
)
def test_other_formats(name: str, format_: str, hint: str, tmp_path: Path) -> None:
    """Weights of another format are recognised by name, and the way to convert them is told."""
    (tmp_path / name).touch()
    (tmp_path / "config.json").write_text("{}")
    error = refuse(tmp_path)
    assert error.what == f"the weights are {format_}, which is not read yet"
    assert error.found == name
    assert hint in error.hint


@pytest.mark.parametrize(("count", "found"), [(5, "0, 1, 2, 3, 4"), (7, "0, 1, 2, 3, 4 and 2 more")])
def test_long_listings_are_cut(count: int, found: str, tmp_path: Path) -> None:
    """The first five names of a directory without weights are given and the rest counted."""
    for number in range(count):
        (tmp_path / str(number)).touch()
    assert refuse(tmp_path).found == found


def test_an_adapter(tmp_path: Path) -> None:
    """A LoRA directory is refused as an adapter even though it holds a safetensors file."""
    (tmp_path / "adapter_config.json").write_text("{}")
    save_file({"a": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    error = refuse(tmp_path)
    assert error.what.startswith("a LoRA adapter is not a model")
    assert "merge_and_unload" in error.hint


def test_a_missing_directory_offers_near_names(tmp_path: Path) -> None:
    """A misspelt directory name is answered with the one that is there."""
    (tmp_path / "expert-math").mkdir()
    error = refuse(tmp_path / "expert-meth")
    assert error.where == str(tmp_path / "expert-meth")
    assert str(tmp_path / "expert-math") in error.hint


def test_a_missing_parent_is_named(tmp_path: Path) -> None:
    """Where the parent is missing too, the hint says so."""
    assert f"{tmp_path / 'gone'} is not there either" in refuse(tmp_path / "gone" / "model").hint


@pytest.mark.parametrize("path", ["", "./nowhere", "a/b/c", "~nobody-of-that-name/x", "..\x00"])
def test_paths_that_cannot_be_repositories(path: str) -> None:
    """A path that is neither there nor a possible Hub name is refused without asking a Hub."""
    assert refuse(path).what == f'model "{path}" is not there'


def test_a_file_where_a_directory_is_expected(sharded: Path) -> None:
    """A weight file given as the model is refused with the way to put it right."""
    error = refuse(sharded / INDEX_NAME)
    assert "not a directory" in error.what
    assert error.hint == "give the directory that holds the file"


def test_a_broken_link(tmp_path: Path) -> None:
    """A link to nowhere given as the model is refused, not taken for a Hub name."""
    (tmp_path / "link").symlink_to("gone")
    assert "broken link" in refuse(tmp_path / "link").what


def test_a_revision_of_a_directory(sharded: Path) -> None:
    """Local directories have no revisions, so asking for one is an error."""
    error = refuse(sharded, revision="main")
    assert error.found == "revision main"


def test_a_path_that_means_two_directories(
    sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path that exists both here and beside the config is not guessed at."""
    write_model(tmp_path / "configs" / "model")
    monkeypatch.chdir(tmp_path)
    error = refuse("model", beside=tmp_path / "configs")
    assert "two places" in error.what
    assert error.where == str(sharded)
    assert error.found == str(tmp_path / "configs" / "model")


def test_shards_without_an_index(sharded: Path) -> None:
    """Numbered shards are not guessed together."""
    (sharded / INDEX_NAME).unlink()
    error = refuse(sharded)
    assert error.what == "weights in several files need an index"
    assert error.expected == INDEX_NAME


def test_one_shard_of_several_without_an_index(sharded: Path) -> None:
    """The only shard left of three is not taken for a whole model."""
    for name in (INDEX_NAME, "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"):
        (sharded / name).unlink()
    assert refuse(sharded).what == "weights in several files need an index"


def test_two_unnumbered_weight_files(tmp_path: Path) -> None:
    """Two files without an order or an index are not guessed at."""
    for name in ("a.safetensors", "b.safetensors"):
        save_file({name: torch.zeros(1)}, tmp_path / name)
    error = refuse(tmp_path)
    assert error.what == "it is not clear which file holds the weights"
    assert error.found == "a.safetensors, b.safetensors"


def test_two_sets_of_weights(sharded: Path) -> None:
    """A single file beside a sharded set is refused, because nobody can tell which is meant."""
    save_file({"a": torch.zeros(1)}, sharded / "model.safetensors")
    assert "two sets of weights" in refuse(sharded).what


def test_index_names_a_missing_file(sharded: Path) -> None:
    """A shard that is not there is named with how many are."""
    (sharded / "model-00002-of-00003.safetensors").unlink()
    error = refuse(sharded)
    assert error.what == "index names 1 of 3 weight files that are not there"
    assert error.where.endswith("model-00002-of-00003.safetensors")
    assert error.found == "2 files"


def test_index_names_a_tensor_that_no_file_holds(sharded: Path) -> None:
    """A name in the index that is in no file is an error."""
    edit_index(sharded, lambda i: i["weight_map"].update(ghost="model-00001-of-00003.safetensors"))
    error = refuse(sharded)
    assert '"ghost"' in error.what
    assert (error.expected, error.found) == ("model-00001-of-00003.safetensors", "no file")


def test_index_sends_a_tensor_to_the_wrong_file(sharded: Path) -> None:
    """A tensor that is in another file than the index says is an error naming both."""
    first = "model-00001-of-00003.safetensors"
    edit_index(sharded, lambda i: i["weight_map"].update({"model.norm.weight": first}))
    error = refuse(sharded)
    assert '"model.norm.weight"' in error.what
    assert (error.expected, error.found) == (first, "model-00003-of-00003.safetensors")


def test_file_holds_a_tensor_the_index_does_not_name(sharded: Path) -> None:
    """A tensor that the index leaves out is an error, not dropped."""
    edit_index(sharded, lambda i: i["weight_map"].pop("lm_head.weight"))
    error = refuse(sharded)
    assert error.what == 'tensor "lm_head.weight" is in a file but not in the index'


def test_a_tensor_in_two_files(sharded: Path) -> None:
    """The same name in two shards is an error naming the second file and the first."""
    third = sharded / "model-00003-of-00003.safetensors"
    save_file({**load_file(third), "lm_head.weight": torch.zeros(1)}, third)
    error = refuse(sharded)
    assert error.what == 'tensor "lm_head.weight" lies in two files'
    assert (error.where, error.expected) == (str(third), "only in model-00001-of-00003.safetensors")


@pytest.mark.parametrize(
    "target", ["../model.safetensors", "/etc/passwd", "sub/x.safetensors", "x.bin", "..", "", 7, None]
)
def test_index_that_points_elsewhere(target: object, sharded: Path) -> None:
    """An index may only name weight files beside it."""
    edit_index(sharded, lambda i: i["weight_map"].update(a=target))
    error = refuse(sharded)
    assert error.where.endswith("weight_map: a")
    assert error.found == str(target)


@pytest.mark.parametrize(
    ("index", "found"),
    [
        ({}, "nothing"),
        ({"weight_map": {}}, "nothing"),
        ({"weight_map": []}, "nothing"),
        ({"weight_map": "x"}, "str"),
    ],
)
def test_index_without_a_weight_map(index: object, found: str, sharded: Path) -> None:
    """An index must hold a map that is not empty."""
    (sharded / INDEX_NAME).write_text(json.dumps(index))
    error = refuse(sharded)
    assert error.what == "index has no weight map"
    assert (error.expected, error.found) == ("tensor name -> file name", found)


@pytest.mark.parametrize("name", [INDEX_NAME, "config.json"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "file is not JSON"),
        (b"{", "file is not JSON"),
        (b"\xff\xfe", "file is not JSON"),
        (b"[" * 100_000, "file is not JSON"),
        (b"[]", "file holds the wrong kind of JSON"),
        (b"null", "file holds the wrong kind of JSON"),
    ],
)
def test_broken_json(name: str, content: bytes, what: str, sharded: Path) -> None:
    """A config or index that is no JSON object is an error naming the file, never taken for an absent one."""
    (sharded / name).write_bytes(content)
    error = refuse(sharded)
    assert error.what == what
    assert error.where == str(sharded / name)


def test_config_that_is_a_broken_link(sharded: Path) -> None:
    """A config whose link leads nowhere is an error, not a model without a config."""
    (sharded / "config.json").unlink()
    (sharded / "config.json").symlink_to("gone")
    assert refuse(sharded).where == str(sharded / "config.json")


def test_weights_without_tensors(tmp_path: Path) -> None:
    """A valid file that holds nothing is no model."""
    save_file({}, tmp_path / "model.safetensors")
    assert refuse(tmp_path).what == "weight files hold no tensors"


def test_a_truncated_shard_is_named(sharded: Path) -> None:
    """Of several files the short one is named."""
    path = sharded / "model-00002-of-00003.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    error = refuse(sharded)
    assert (error.what, error.where) == ("file is truncated", str(path))


def test_a_directory_that_cannot_be_listed(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory without permission is an error in the system's words (played, as root may read all)."""

    def forbidden(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.listdir", forbidden)
    error = refuse(sharded)
    assert (error.what, error.found) == ("directory cannot be read", "Permission denied")
