"""The law of merges that read together: each has the bytes it has alone; what they share is read once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from cluster.local import LocalExecutor
from pipeline import load_config, output, plan_merges, run_merges
from pipeline.checkpoint import files
from pipeline.checkpoint.commit import verify
from pipeline.checkpoint.manifest import read_manifest
from pipeline.errors import CheckpointError, OutputError
from pipeline.output import check_outputs
from pipeline.plan import cost
from pipeline.plan.plan import UNIT_ID_LENGTH, Limits, MergePlan
from pipeline.plan.together import share_units, shared_cost
from pipeline.work import reading
from tests.helpers.crash import killed_at
from tests.helpers.merging import SETTINGS, merge, small_tiles, weight_bytes, write_config
from tests.helpers.models import write_family, write_model

LOOSE, TIGHT = 1 << 30, 20_000

Alone = dict[Path, dict[str, str]]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """Every method and scope on one family, and fewer experts: configs, and the bytes of a run of each."""
    home = tmp_path_factory.mktemp("alone")
    base, experts = write_family(home / "models", experts=3, dtype="bfloat16", hidden=32)
    configs = [write_config(home / f"{setting}.json", setting, base, experts) for setting in SETTINGS]
    configs.append(write_config(home / "fewer.json", "ties", base, experts[:2], out_dtype="float32"))
    with pytest.MonkeyPatch.context() as patch:
        small_tiles(patch)
        for path in configs:
            merge(path, home / path.stem)
    return {path: weight_bytes(home / path.stem) for path in configs}


@pytest.fixture
def configs(alone: Alone, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """These configs, while tensors are cut as huge ones are."""
    small_tiles(monkeypatch)
    return list(alone)


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


@pytest.mark.parametrize(
    ("memory_bytes", "workers"),
    [
        (LOOSE, 3),
        (TIGHT, 2),
        pytest.param(LOOSE, 1, marks=pytest.mark.slow),
        pytest.param(TIGHT, 1, marks=pytest.mark.slow),
    ],
)
def test_together_is_alone(
    configs: list[Path], alone: Alone, tmp_path: Path, memory_bytes: int, workers: int
) -> None:
    """Side by side, held whole or in pieces, each merge has the bytes of a run of its own, and verifies."""
    outs = [tmp_path / f"{path.stem}-together" for path in configs]
    merge_together(configs, outs, memory_bytes, workers)
    for path, out in zip(configs, outs, strict=True):
        assert weight_bytes(out) == alone[path], path.stem
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
        ("cluster.ledger:Ledger.append", 9),
        ("pipeline.work.writing:write_from", 11),
        ("pipeline.underway:publish", 2),
        pytest.param("pipeline.staging:create_sized", 3, marks=pytest.mark.slow),
        pytest.param("pipeline.underway:Staging.discard", 1, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_is_continued(
    point: str, call: int, configs: list[Path], alone: Alone, tmp_path: Path
) -> None:
    """Killed anywhere, also between two models' publications, the same command ends with the bytes of
    undisturbed runs.
    """
    outs = [tmp_path / f"{path.stem}-together" for path in configs]

    def work() -> None:
        merge_together(configs, outs, TIGHT, 2)

    assert killed_at(point, call, work), "the stop was never reached"
    work()
    for path, out in zip(configs, outs, strict=True):
        assert weight_bytes(out) == alone[path], path.stem


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


@pytest.mark.parametrize("kept", [slice(0, None), slice(1, None), slice(0, 1)])
def test_a_run_goes_on_however_it_is_cut(
    kept: slice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it counts and continued with less memory, or without one of the merges, so that units are
    other ones and samples with them, each merge has its own bytes and its record lists its own units.
    """
    small_tiles(monkeypatch)
    monkeypatch.setattr(cost, "SAMPLE_LEAST", 64)
    monkeypatch.setattr(cost, "SAMPLE_RUN", 16)
    base, experts = write_family(tmp_path / "models", experts=3, dtype="bfloat16", hidden=32)
    configs = [
        write_config(tmp_path / f"{name}.json", name, base, experts) for name in ("ties-model", "ties")
    ]
    outs = [tmp_path / f"{path.stem}-together" for path in configs]
    counted = "pipeline.measuring:Measuring.take"
    half = len(planned(configs, LOOSE)[0].units) * 3 // 2
    assert killed_at(counted, half, lambda: merge_together(configs, outs, LOOSE, 1))
    merge_together(configs[kept], outs[kept], TIGHT, 2)
    plans = planned(configs[kept], TIGHT)
    for path, out, plan in zip(configs[kept], outs[kept], plans, strict=True):
        merge(path, tmp_path / f"{path.stem}-alone")
        assert weight_bytes(out) == weight_bytes(tmp_path / f"{path.stem}-alone"), path.stem
        units = {unit["id"][:UNIT_ID_LENGTH] for unit in read_manifest(out).timings["units"]}
        assert units == {unit.id for unit in plan.units}


def test_tensors_that_are_copied_and_empty_ones_are_shared_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counters and tensors without elements come out of merges side by side as they do alone; where copies
    differ, the merge is named.
    """
    small_tiles(monkeypatch)
    extra = {"empty": torch.zeros(0, 4), "steps": torch.arange(5)}
    base = write_model(tmp_path / "base", extra=extra)
    experts = [write_model(tmp_path / f"e{n}", base=base, seed=1 + n, extra=extra) for n in range(2)]
    other = write_model(tmp_path / "other", base=base, seed=9, extra={**extra, "steps": torch.arange(5) + 1})
    configs = [write_config(tmp_path / f"{name}.json", name, base, experts) for name in ("ties", "linear")]
    outs = [tmp_path / f"{path.stem}-together" for path in configs]
    merge_together(configs, outs, LOOSE, 2)
    for path, out in zip(configs, outs, strict=True):
        merge(path, tmp_path / f"{path.stem}-alone")
        assert weight_bytes(out) == weight_bytes(tmp_path / f"{path.stem}-alone")
    odd = write_config(tmp_path / "odd.json", "linear", base, [experts[0], other], name="odd")
    with pytest.raises(CheckpointError, match='"steps"') as caught:
        merge_together([configs[0], odd], [tmp_path / "a", tmp_path / "b"], LOOSE, 1)
    assert caught.value.where == f'merge "odd", model "{other}"'


def test_fresh_replaces_each(configs: list[Path], tmp_path: Path) -> None:
    """Started over, every model is made anew and stands in its place; nothing else is left beside them."""
    outs = [tmp_path / "all" / path.stem for path in configs]
    merge_together(configs, outs, LOOSE, 2)
    before = [weight_bytes(out) for out in outs]
    stamps = [out.stat().st_ino for out in outs]
    with LocalExecutor(2) as executor:
        run_merges(planned(configs, LOOSE), outs, executor, fresh=True)
    assert [weight_bytes(out) for out in outs] == before
    assert all(out.stat().st_ino != stamp for out, stamp in zip(outs, stamps, strict=True))
    assert sorted((tmp_path / "all").iterdir()) == sorted(outs)


def test_outputs_keep_out_of_each_others_way(
    configs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An output that another merge reads, and outputs that fit the disk singly but not together, are refused
    before anything is written.
    """
    merge(configs[0], tmp_path / "out")
    models = json.loads(configs[0].read_text())["models"]
    models[0]["model"] = str(tmp_path / "out")
    reader = tmp_path / "reader.json"
    reader.write_text(json.dumps({"merge_method": "linear", "models": models}))
    plans = planned([configs[0], reader], LOOSE)
    with pytest.raises(OutputError, match="overlaps an input"):
        check_outputs(plans, [tmp_path / "out", tmp_path / "second"], fresh=True)
    pair = planned(configs[:2], LOOSE)
    size = sum(shard.size_bytes for shard in pair[0].shards)
    monkeypatch.setattr(output, "free_bytes", lambda path: size * 3 // 2)
    places = [tmp_path / "x", tmp_path / "y"]
    assert check_outputs(pair[:1], places[:1], fresh=False) == [None]
    with pytest.raises(OutputError, match="models do not fit"):
        check_outputs(pair, places, fresh=False)
