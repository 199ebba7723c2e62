"""Ray equals local, byte for byte, whatever is killed under it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.on_ray import RayExecutor
from pipeline import run_merge
from pipeline.checkpoint.manifest import read_manifest
from tests.helpers.broken import spoil
from tests.helpers.killer import MARKER, run_unit_dying
from tests.helpers.merging import SETTINGS, merge, plan, small_tiles, weight_bytes, write_config
from tests.helpers.models import write_family


@pytest.fixture(scope="module")
def ray_here() -> Iterator[RayExecutor]:
    """An embedded Ray with two workers, started once for this file."""
    with RayExecutor(workers=2) as executor:
        yield executor


@pytest.mark.parametrize("setting", SETTINGS)
def test_ray_gives_the_local_bytes(
    setting: str, ray_here: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every method, cut into many units on Ray, has the bytes of one local worker with whole tensors, and
    says the same of elements that are not finite.
    """
    base, experts = write_family(tmp_path / "models", experts=3, dtype="bfloat16")
    spoil(experts[1], "lm_head.weight", {3: float("nan"), 400: float("inf")})
    config = write_config(tmp_path / "merge.json", setting, base, experts)
    local = merge(config, tmp_path / "local", workers=1, shard_size_bytes=4000)
    small_tiles(monkeypatch)
    found = plan(config, shard_size_bytes=4000)
    assert len(found.units) > 2
    manifest = run_merge(found, tmp_path / "ray", ray_here)
    assert weight_bytes(tmp_path / "ray") == weight_bytes(tmp_path / "local")
    assert manifest.nonfinite == local.nonfinite and manifest.nonfinite


@pytest.mark.parametrize("setting", ["dare_ties"])
def test_killed_workers_change_nothing(
    setting: str, ray_here: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers killed before they begin, or after they wrote and before they answered: the same bytes."""
    base, experts = write_family(tmp_path / "models", experts=3, dtype="bfloat16", shards=2)
    config = write_config(tmp_path / "merge.json", setting, base, experts)
    merge(config, tmp_path / "local", shard_size_bytes=4000)
    small_tiles(monkeypatch)
    monkeypatch.setattr("pipeline.run.run_unit", run_unit_dying)
    manifest = run_merge(plan(config, shard_size_bytes=4000), tmp_path / "ray", ray_here)
    assert len(list(tmp_path.glob(f"{MARKER}*"))) == 2, "both units must have killed their workers"
    assert weight_bytes(tmp_path / "ray") == weight_bytes(tmp_path / "local")
    assert manifest.weights_digest == read_manifest(tmp_path / "local").weights_digest
