"""The law of merges that read together: each has the bytes it has alone; what they share is read once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cluster.local import LocalExecutor
from pipeline import load_config, plan_merges, run_merges
from pipeline.checkpoint import files
from pipeline.checkpoint.commit import verify
from pipeline.plan.plan import Limits, MergePlan
from pipeline.plan.together import share_units, shared_cost
from pipeline.work import reading
from tests.helpers.crash import killed_at
from tests.helpers.merging import SETTINGS, merge, small_tiles, weight_bytes, write_config
from tests.helpers.models import write_family

LOOSE, TIGHT = 1 << 30, 20_000


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every method and scope on one family, and fewer experts; tensors are cut as huge ones are."""
    small_tiles(monkeypatch)
    base, experts = write_family(tmp_path / "models", experts=3, dtype="bfloat16", hidden=32)
    found = [write_config(tmp_path / f"{setting}.json", setting, base, experts) for setting in SETTINGS]
    return [*found, write_config(tmp_path / "fewer.json", "ties", base, experts[:2], out_dtype="float32")]


def planned(configs: Sequence[Path], memory_bytes: int, workers: int = 2) -> tuple[MergePlan, ...]:
    """The configs' merges, cut together."""
    return plan_merges([load_config(path) for path in configs], limits=Limits(memory_bytes, workers))


def merge_together(configs: Sequence[Path], outs: Sequence[Path], memory_bytes: int, workers: int) -> None:
    """Merge all of them in one run."""
    with LocalExecutor(workers) as executor:
        run_merges(planned(configs, memory_bytes, workers), outs, executor)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Sizes of all reads of inputs."""
    sizes: list[int] = []

    def counting(descriptor: int, view: memoryview, offset: int) -> None:
        sizes.append(len(view))
        files.read_into(descriptor, view, offset)

    monkeypatch.setattr(reading, "read_into", counting)
    yield sizes


@pytest.mark.parametrize(("memory_bytes", "workers"), [(LOOSE, 1), (LOOSE, 3), (TIGHT, 1), (TIGHT, 2)])
def test_together_is_alone(configs: list[Path], tmp_path: Path, memory_bytes: int, workers: int) -> None:
    """Side by side, held whole or in pieces, each merge has the bytes of a run of its own, and verifies."""
    outs = [tmp_path / f"{path.stem}-together" for path in configs]
    merge_together(configs, outs, memory_bytes, workers)
    for path, out in zip(configs, outs, strict=True):
        alone = tmp_path / f"{path.stem}-alone"
        merge(path, alone)
        assert weight_bytes(out) == weight_bytes(alone), path.stem
        verify(out)


def test_what_is_shared_is_read_once(configs: list[Path], tmp_path: Path, read: list[int]) -> None:
    """Methods that need no rounds of the whole model read together what one of them reads alone, and the
    plan says so.
    """
    chosen = [path for path in configs if path.stem in ("task_arithmetic", "ties", "dare_ties", "fewer")]
    merge(chosen[0], tmp_path / "alone")
    alone = sum(read)
    read.clear()
    merge_together(chosen, [tmp_path / path.stem for path in chosen], LOOSE, 2)
    assert sum(read) == alone > 0
    plans = planned(chosen, LOOSE)
    assert shared_cost(plans).read_bytes == alone == sum(unit.read_bytes for unit in share_units(plans))


@pytest.mark.parametrize("memory_bytes", [LOOSE, TIGHT])
def test_rounds_are_shared_too(
    configs: list[Path], tmp_path: Path, read: list[int], memory_bytes: int
) -> None:
    """Merges with the same rounds over the whole model count in one pass, however much is held."""
    config = next(path for path in configs if path.stem == "ties-model")
    merge(config, tmp_path / "alone", memory_bytes=memory_bytes)
    alone = sum(read)
    read.clear()
    merge_together([config, config, config], [tmp_path / name for name in "abc"], memory_bytes, 2)
    assert sum(read) == alone > 0


def test_models_of_other_shapes_share_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merges of two families whose tensors have the same names and other sizes are those of two runs."""
    small_tiles(monkeypatch)
    configs = []
    for hidden in (16, 32):
        base, experts = write_family(tmp_path / f"models{hidden}", experts=2, hidden=hidden)
        configs.append(write_config(tmp_path / f"{hidden}.json", "ties-model", base, experts))
    outs = [tmp_path / f"out{path.stem}" for path in configs]
    merge_together(configs, outs, TIGHT, 2)
    for path, out in zip(configs, outs, strict=True):
        merge(path, tmp_path / f"alone{path.stem}")
        assert weight_bytes(out) == weight_bytes(tmp_path / f"alone{path.stem}")


@pytest.mark.parametrize(
    ("point", "call"),
    [
        ("pipeline.staging:create_sized", 3),
        ("cluster.ledger:Ledger.append", 9),
        ("pipeline.work.writing:write_from", 11),
        ("pipeline.underway:publish", 2),
        ("pipeline.underway:Staging.discard", 1),
    ],
)
def test_a_killed_run_is_continued(point: str, call: int, configs: list[Path], tmp_path: Path) -> None:
    """Killed anywhere, also between two models' publications, the same command ends with the bytes of
    undisturbed runs.
    """
    outs = [tmp_path / f"{path.stem}-together" for path in configs]

    def work() -> None:
        merge_together(configs, outs, TIGHT, 2)

    assert killed_at(point, call, work), "the stop was never reached"
    work()
    for path, out in zip(configs, outs, strict=True):
        merge(path, tmp_path / f"{path.stem}-alone")
        assert weight_bytes(out) == weight_bytes(tmp_path / f"{path.stem}-alone"), path.stem


def test_finished_models_are_not_made_again(configs: list[Path], tmp_path: Path, read: list[int]) -> None:
    """With one model missing a second run makes that one and leaves the others; a third does nothing."""
    chosen = configs[:3]
    outs = [tmp_path / path.stem for path in chosen]
    merge_together(chosen, outs, LOOSE, 2)
    expected, stamps = weight_bytes(outs[1]), [out.stat().st_mtime_ns for out in outs]
    shutil.rmtree(outs[1])
    merge_together(chosen, outs, LOOSE, 2)
    assert weight_bytes(outs[1]) == expected
    assert [out.stat().st_mtime_ns for out in (outs[0], outs[2])] == [stamps[0], stamps[2]]
    read.clear()
    merge_together(chosen, outs, LOOSE, 2)
    assert not read
