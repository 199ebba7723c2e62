"""The engine's law on the local executor: same config, same bytes, whatever the cut, memory or workers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.checkpoint.commit import verify
from pipeline.checkpoint.manifest import read_manifest
from pipeline.errors import CheckpointError, OutputError
from pipeline.plan import cost
from pipeline.work_directory import work_directory
from tests.helpers.merging import SETTINGS, merge, plan, small_tiles, tensors, weight_bytes, write_config
from tests.helpers.models import write_family, write_model


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A base and three experts, bf16, in two shards, with an integer buffer."""
    root = tmp_path_factory.mktemp("family")
    extra = {"model.buffer": torch.arange(7)}
    return write_family(root, experts=3, dtype="bfloat16", shards=2, hidden=24, vocab=40, extra=extra)


@pytest.mark.parametrize("setting", SETTINGS)
def test_any_cut_gives_the_same_bytes(
    setting: str, family: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole tensors, tiny tiles, measured groups, one worker or three: the same files byte for byte."""
    config = write_config(tmp_path / "merge.json", setting, *family)
    merge(config, tmp_path / "whole", workers=1)
    expected = weight_bytes(tmp_path / "whole")
    small_tiles(monkeypatch)
    merge(config, tmp_path / "tiled", workers=3)
    assert weight_bytes(tmp_path / "tiled") == expected
    loose = plan(config)
    least = cost.least_bytes(loose.tensors, len(loose.experts), "cpu")
    tight = plan(config, memory_bytes=least)
    if setting.startswith("ties"):
        assert tight.groups, "the bound must force tensors to be measured in pieces"
    merge(config, tmp_path / "tight", memory_bytes=least)
    assert weight_bytes(tmp_path / "tight") == expected


def test_files_are_what_safetensors_writes(family: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """Each output shard equals, byte for byte, what safetensors itself writes for its tensors."""
    config = write_config(tmp_path / "merge.json", "task_arithmetic", *family)
    merge(config, tmp_path / "out", shard_size_bytes=8000)
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(files) > 2
    from safetensors.torch import load_file

    for file in files:
        save_file(load_file(file), tmp_path / "again.safetensors", metadata={"format": "pt"})
        assert file.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


def test_shard_size_moves_tensors_but_not_values(family: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """Every tensor has the same values however the output is sharded, under model scope too."""
    config = write_config(tmp_path / "merge.json", "ties-model", *family)
    merge(config, tmp_path / "one")
    merge(config, tmp_path / "many", shard_size_bytes=3000)
    one, many = tensors(tmp_path / "one"), tensors(tmp_path / "many")
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)


def test_averaging_is_the_mean(family: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """linear gives the weighted mean in fp32, cast once; integer tensors are copied."""
    config = write_config(tmp_path / "merge.json", "linear", *family, out_dtype="float32")
    merge(config, tmp_path / "out")
    weights = torch.tensor([0.7, 0.8, 0.9], dtype=torch.float64)
    experts = [tensors(expert) for expert in family[1]]
    for name, merged in tensors(tmp_path / "out").items():
        stack = torch.stack([expert[name].double() for expert in experts])
        if not experts[0][name].is_floating_point():
            assert torch.equal(merged, experts[0][name])
            continue
        mean = (stack * weights.view(-1, *[1] * (stack.dim() - 1))).sum(0) / weights.sum()
        torch.testing.assert_close(merged.double(), mean, rtol=1e-6, atol=1e-8)


def test_merging_twice_is_instant_and_changes_nothing(
    family: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    """The same merge again returns the manifest without touching a file; another plan is refused."""
    config = write_config(tmp_path / "merge.json", "ties", *family)
    first = merge(config, tmp_path / "out")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert merge(config, tmp_path / "out") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == stamps
    other = write_config(tmp_path / "other.json", "linear", *family)
    with pytest.raises(OutputError) as caught:
        merge(other, tmp_path / "out")
    assert "--fresh" in caught.value.hint and caught.value.where.endswith("out")
    merge(other, tmp_path / "out", fresh=True)
    assert read_manifest(tmp_path / "out").config["merge_method"] == "linear"


def test_published_model_verifies_and_loads(family: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """The output verifies, a flipped bit is found and named, and nothing of the work directory is left."""
    config = write_config(tmp_path / "merge.json", "dare_ties", *family)
    merge(config, tmp_path / "out")
    verify(tmp_path / "out")
    assert not work_directory(tmp_path / "out").exists()
    file = next((tmp_path / "out").glob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(Exception, match=file.name):
        verify(tmp_path / "out")


def test_differing_integers_are_refused(family: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """An integer tensor that differs between models ends the merge with its name, and nothing appears."""
    odd = write_model(
        tmp_path / "odd", dtype="bfloat16", hidden=24, vocab=40, extra={"model.buffer": torch.ones(7).long()}
    )
    config = write_config(tmp_path / "merge.json", "linear", family[0], [family[1][0], odd])
    with pytest.raises(CheckpointError, match=r"model\.buffer") as caught:
        merge(config, tmp_path / "out")
    assert str(odd) in caught.value.where
    assert not (tmp_path / "out").exists()


def test_something_else_at_the_output_is_left_alone(family: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """A directory that is not ours is refused even with --fresh, and its files stay."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("dear to somebody")
    config = write_config(tmp_path / "merge.json", "linear", *family)
    for fresh in (False, True):
        with pytest.raises(OutputError):
            merge(config, tmp_path / "out", fresh=fresh)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "dear to somebody"
