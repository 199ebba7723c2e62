"""The index of a local model against what safetensors reads from the same files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.checkpoint.index import CheckpointIndex
from pipeline.checkpoint.locate import read_index
from pipeline.values import ModelRef
from tests.helpers.models import INDEX_NAME, read_tensors, write_model


def stored_bytes(index: CheckpointIndex, name: str) -> bytes:
    """The bytes at the place the index gives for a tensor."""
    entry = index.tensors[name]
    with open(entry.file, "rb") as file:
        file.seek(entry.start_byte)
        return file.read(entry.spec.size_bytes)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_index_finds_every_tensor_s_bytes(shards: int, dtype: str, tmp_path: Path) -> None:
    """Name, type, shape and bytes of every tensor are those that safetensors loads."""
    ids = torch.arange(6, dtype=torch.int32).reshape(2, 3)
    path = write_model(tmp_path / "m", shards=shards, dtype=dtype, extra={"ids": ids})
    index = read_index(ModelRef(str(path)))
    tensors = read_tensors(path)
    assert set(index.tensors) == set(tensors)
    for name, tensor in tensors.items():
        spec = index.tensors[name].spec
        assert (spec.name, spec.shape) == (name, tuple(tensor.shape))
        assert getattr(torch, spec.dtype.name) is tensor.dtype
        assert stored_bytes(index, name) == tensor.contiguous().view(torch.uint8).numpy().tobytes()


def test_files_and_config_are_described(tmp_path: Path) -> None:
    """Every weight file is listed in natural order with its size and time; config.json is given as it is."""
    path = write_model(tmp_path / "m", shards=11)
    index = read_index(ModelRef(str(path)))
    assert [Path(file.path).name for file in index.files] == sorted(
        p.name for p in path.glob("*.safetensors")
    )
    for file in index.files:
        status = Path(file.path).stat()
        assert (file.size_bytes, file.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert index.config == json.loads((path / "config.json").read_text())
    assert index.directory == str(path)
    assert index.commit is None


def test_a_buffer_may_be_stored_unlisted(tmp_path: Path) -> None:
    """A buffer that loaders compute may lie in a shard without standing in the index file, and is read."""
    path = write_model(tmp_path / "m", shards=3)
    index = json.loads((path / INDEX_NAME).read_text())
    name, file = "model.layers.0.self_attn.rotary_emb.inv_freq", path / index["weight_map"]["lm_head.weight"]
    save_file(load_file(file) | {name: torch.ones(4)}, file)
    assert name in read_index(ModelRef(str(path))).tensors


def test_header_digest_follows_the_header_alone(tmp_path: Path) -> None:
    """Other weights under the same header keep the digest; another tensor name changes it."""

    def digest(name: str, value: float) -> str:
        save_file({name: torch.full((4,), value)}, tmp_path / "model.safetensors")
        return read_index(ModelRef(str(tmp_path))).files[0].header_digest

    assert digest("a", 1.0) == digest("a", 2.0)
    assert digest("a", 1.0) != digest("b", 1.0)


def test_tensors_come_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    """Reading the tensors in the index's order walks each file forward."""
    index = read_index(ModelRef(str(write_model(tmp_path / "m", shards=2))))
    places = [(entry.file, entry.start_byte) for entry in index.tensors.values()]
    assert places == sorted(places)


def test_a_model_without_a_config_has_an_empty_one(tmp_path: Path) -> None:
    """config.json is not required."""
    path = write_model(tmp_path / "m")
    (path / "config.json").unlink()
    assert read_index(ModelRef(str(path))).config == {}


def test_a_single_file_of_another_name_is_taken(tmp_path: Path) -> None:
    """One *.safetensors file is the model whatever its name; hidden files do not count."""
    save_file({"a": torch.zeros(2)}, tmp_path / "weights.safetensors")
    (tmp_path / "._weights.safetensors").write_bytes(b"resource fork")
    assert list(read_index(ModelRef(str(tmp_path))).tensors) == ["a"]


def test_files_outside_the_index_are_left_alone(tmp_path: Path) -> None:
    """A consolidated copy beside an indexed set is not read."""
    path = write_model(tmp_path / "m", shards=2)
    (path / "consolidated.safetensors").write_bytes(b"not even safetensors")
    assert len(read_index(ModelRef(str(path))).files) == 2


def test_an_index_of_one_file_is_followed(tmp_path: Path) -> None:
    """An index that names only model.safetensors is no second set of weights."""
    path = write_model(tmp_path / "m")
    weight_map = dict.fromkeys(read_tensors(path), "model.safetensors")
    (path / INDEX_NAME).write_text(json.dumps({"weight_map": weight_map}))
    assert set(read_index(ModelRef(str(path))).tensors) == set(weight_map)


def test_a_scalar_and_an_empty_tensor_have_their_sizes(tmp_path: Path) -> None:
    """A scalar is one element, an empty tensor none."""
    save_file({"s": torch.tensor(3.5), "e": torch.zeros(0, 7)}, tmp_path / "model.safetensors")
    index = read_index(ModelRef(str(tmp_path)))
    assert index.tensors["s"].spec.size_bytes == 4
    assert index.tensors["e"].spec.size_bytes == 0
    assert index.tensors["e"].spec.shape == (0, 7)


def test_relative_paths_are_looked_up_here_and_beside_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path means the working directory or the config's; the same directory by both ways is one."""
    here, beside = write_model(tmp_path / "here" / "a"), write_model(tmp_path / "configs" / "b")
    monkeypatch.chdir(tmp_path / "here")
    assert read_index(ModelRef("a"), beside=tmp_path / "configs").directory == str(here)
    assert read_index(ModelRef("b"), beside=tmp_path / "configs").directory == str(beside)
    assert read_index(ModelRef("./a"), beside=tmp_path / "here").directory == str(here)


def test_the_home_directory_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that begins with a tilde is expanded."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = write_model(tmp_path / "m")
    assert read_index(ModelRef("~/m")).directory == str(path)
