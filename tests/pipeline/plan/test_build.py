"""The plan as a whole: deterministic, complete, priced; what cannot work is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.config.load import load_config, parse_config
from pipeline.errors import ConfigError, InputError
from pipeline.plan.build import plan_merge
from pipeline.plan.estimate import as_text, limits_for
from pipeline.plan.plan import Limits
from tests.helpers.merging import SETTINGS, plan, small_tiles, write_config
from tests.helpers.models import write_family

Family = tuple[Path, list[Path]]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """A base and two experts."""
    return write_family(tmp_path_factory.mktemp("family"), experts=2, dtype="bfloat16")


@pytest.mark.parametrize("setting", SETTINGS)
def test_units_cover_every_output_byte_once(
    setting: str, family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pieces of all units tile every tensor exactly, however small the units are."""
    small_tiles(monkeypatch, unit_bytes=700)
    found = plan(write_config(tmp_path / "c.json", setting, *family))
    spans: dict[int, list[tuple[int, int]]] = {}
    for unit in found.units:
        for piece in unit.pieces:
            spans.setdefault(piece.tensor, []).append((piece.start, piece.stop))
    for number, tensor in enumerate(found.tensors):
        position = 0
        for start, stop in sorted(spans[number]):
            assert start == position
            position = stop
        assert position == tensor.spec.numel
    assert len({unit.id for unit in found.units}) == len(found.units)


def test_fingerprint_names_what_decides_the_bytes(family: Family, tmp_path: Path) -> None:
    """Memory and workers leave the fingerprint alone; method, dtype, shard size and inputs change it."""
    config = write_config(tmp_path / "a.json", "ties", *family)
    same = {plan(config).fingerprint, plan(config, memory_bytes=1 << 28, workers=7).fingerprint}
    assert len(same) == 1
    others = [
        plan(config, shard_size_bytes=4000),
        plan(write_config(tmp_path / "b.json", "task_arithmetic", *family)),
        plan(write_config(tmp_path / "c.json", "ties", *family, dtype="bfloat16")),
        plan(write_config(tmp_path / "d.json", "ties", family[0], family[1][:1])),
    ]
    assert len({each.fingerprint for each in others} | same) == 5


def test_types_follow_the_config(family: Family, tmp_path: Path) -> None:
    """fp32 arithmetic and the inputs' type out; `dtype` sets both; `out_dtype` sets the output."""
    cases: list[tuple[dict[str, str], str, str]] = [
        ({}, "float32", "bfloat16"),
        ({"dtype": "float16"}, "float16", "float16"),
        ({"dtype": "float32", "out_dtype": "bfloat16"}, "float32", "bfloat16"),
    ]
    for top, compute, out in cases:
        tensor = plan(write_config(tmp_path / "c.json", "linear", *family, **top)).tensors[0]
        assert (tensor.compute.name, tensor.spec.dtype.name) == (compute, out)


def test_fp64_inputs_are_merged_in_fp64(tmp_path: Path) -> None:
    """An fp64 tensor is not rounded to fp32 on its way."""
    base, experts = write_family(tmp_path / "m", experts=2, dtype="float64")
    tensor = plan(write_config(tmp_path / "c.json", "linear", base, experts)).tensors[0]
    assert (tensor.compute.name, tensor.spec.dtype.name) == ("float64", "float64")


def test_model_scope_needs_one_density(family: Family, tmp_path: Path) -> None:
    """A density that differs between tensors is refused when the whole model is trimmed together."""
    config = {
        "merge_method": "ties",
        "base_model": str(family[0]),
        "models": [{"model": str(expert)} for expert in family[1]],
        "parameters": {
            "weight": 1.0,
            "trim_scope": "model",
            "density": [{"filter": "mlp", "value": 0.5}, {"value": 0.2}],
        },
    }
    with pytest.raises(ConfigError, match="density") as caught:
        plan_merge(parse_config(config))
    assert "trim_scope: tensor" in caught.value.hint
    config["parameters"]["trim_scope"] = "tensor"  # type: ignore[index]  # a plain dict
    assert plan_merge(parse_config(config)).units


def test_too_little_memory_is_an_error_before_work(family: Family, tmp_path: Path) -> None:
    """A bound below the workers' own buffers says how much is needed."""
    with pytest.raises(InputError, match="memory bound") as caught:
        plan_merge(
            load_config(write_config(tmp_path / "c.json", "ties", *family)), limits=Limits(1 << 20, workers=2)
        )
    assert "MiB" in caught.value.expected and "--memory" in caught.value.hint


def test_integer_tensors_are_copied(tmp_path: Path) -> None:
    """A tensor that is not a float keeps its type and is planned as a copy, whatever the dtype keys say."""
    base, experts = write_family(tmp_path / "m", experts=2, extra={"steps": torch.arange(3)})
    found = plan(write_config(tmp_path / "c.json", "linear", base, experts, dtype="bfloat16"))
    tensor = next(each for each in found.tensors if each.spec.name == "steps")
    assert (tensor.action, tensor.spec.dtype.name) == ("copy", "int64")


def test_text_and_json_tell_the_same(family: Family, tmp_path: Path) -> None:
    """The printed plan names every model and the fingerprint, and the JSON carries its cost."""
    found = plan(write_config(tmp_path / "c.json", "ties", *family))
    text, data = as_text(found), found.summary()
    assert all(str(path) in text for path in (family[0], *family[1])) and found.fingerprint in text
    read = sum(tensor.spec.numel * tensor.read_bytes_per_element for tensor in found.tensors)
    assert data["read_bytes"] == found.cost.read_bytes == read


def test_limits_come_from_flags_and_from_described_clusters() -> None:
    """--memory is shared by the workers after their interpreters; a described cluster sets its own."""
    local = limits_for("2400MiB", 4, processes=False, cluster=None)
    assert (local.memory_bytes, local.workers) == ((2000 << 20) // 4, 4)
    ray = limits_for("2400MiB", 2, processes=True, cluster=None)
    assert ray.memory_bytes == (1600 << 20) // 2
    assert limits_for("8GiB", None, device="cuda", processes=False, cluster=None).workers == 1
    described = limits_for(None, None, processes=True, cluster="nodes=8,gpus=8,disk=5GBps")
    assert described.workers == 64 and described.disk_bytes_per_s == 5e9 / 64
    with pytest.raises(InputError, match="cluster description") as caught:
        limits_for(None, None, processes=True, cluster="node=8")
    assert "nodes" in caught.value.hint
    with pytest.raises(InputError, match="--cluster cpus"):
        limits_for(None, None, processes=True, cluster="cpus=x")
