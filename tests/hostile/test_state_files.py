"""State that a merge left is not trusted: what is damaged is absent, or refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.contract import ClusterError
from cluster.ledger import Ledger, is_held, read_ledger
from pipeline.checkpoint.manifest import MANIFEST_NAME
from pipeline.errors import CheckpointError, MergescaleError
from pipeline.status import describe, merge_status
from pipeline.work_directory import work_directory
from tests.helpers.crash import killed_at
from tests.helpers.merging import merge, plan, small_tiles, tensors, weight_bytes, write_config
from tests.helpers.models import write_family, write_tensors


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TIES merge over the whole model, in many small units."""
    small_tiles(monkeypatch, unit_bytes=4000)
    base, experts = write_family(tmp_path / "models", experts=2, dtype="bfloat16")
    return write_config(tmp_path / "merge.json", "ties-model", base, experts)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "json", "gone"])
def test_damaged_measures_are_measured_again(damage: str, config: Path, tmp_path: Path) -> None:
    """Whatever happened to the measures that an interrupted run kept, the same command gives its bytes."""
    merge(config, tmp_path / "calm")
    out = tmp_path / "out"
    assert killed_at("pipeline.run:_Run.merge", 1, lambda: merge(config, out))
    kept = sorted((work_directory(out) / "partials").iterdir())
    assert kept
    for number, path in enumerate(kept):
        data = bytearray(path.read_bytes())
        data[len(data) * (number + 1) // (len(kept) + 1)] ^= 1
        if damage == "flip":
            path.write_bytes(data)
        elif damage == "cut":
            path.write_bytes(data[: len(data) // 2])
        elif damage == "gone":
            path.unlink()
        else:
            path.write_bytes(b"" if damage == "empty" else b'{"partials": {}}')
    merge(config, out)
    assert weight_bytes(out) == weight_bytes(tmp_path / "calm")


RECEIPTS: list[Any] = [{}, {"digests": 5}, {"digests": {}}, {"digests": {"a": 1}, "write_bytes": "x"}]


@pytest.mark.parametrize("receipt", RECEIPTS)
def test_an_odd_receipt_is_none(receipt: Any, config: Path, tmp_path: Path) -> None:
    """A receipt of other types than a unit writes does not count: the unit is merged again."""
    merge(config, tmp_path / "calm")
    out = tmp_path / "out"
    assert killed_at("pipeline.run:_Run.seal", 1, lambda: merge(config, out))
    unit = plan(config).units[0].id
    with (work_directory(out) / "receipts.jsonl").open("a") as file:
        file.write(json.dumps({"unit": unit, "receipt": receipt}) + "\n")
    assert describe(merge_status(out))
    merge(config, out)
    assert weight_bytes(out) == weight_bytes(tmp_path / "calm")


LINES = [
    '{"unit":[1],"receipt":{}}',
    '{"unit":"u","receipt":null}',
    '{"ledger":1,"fingerprint":5}',
    '{"ledger":true,"fingerprint":"a"}',
    '{"opened":7}',
    '{"opened":{"pid":"x","host":1}}',
    "[" * 100_000,
    '{"unit":"u","receipt":{"n":' + "9" * 5000 + "}}",
]


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_an_odd_line_of_the_ledger_is_damage(line: str, config: Path, tmp_path: Path) -> None:
    """A line of another shape is told by its number, by the merge and by status, and --fresh starts over."""
    out = tmp_path / "out"
    assert killed_at("pipeline.run:_Run.seal", 1, lambda: merge(config, out))
    path = work_directory(out) / "receipts.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, *lines[1:]]) + "\n")
    with pytest.raises(ClusterError, match="line 2 of"):
        merge_status(out)
    with pytest.raises(MergescaleError, match="damaged") as caught:
        merge(config, out)
    assert "--fresh" in caught.value.hint
    merge(config, out, fresh=True)


PLANS: list[Any] = [
    [],
    {"fingerprint": 5},
    {"input_files": 5},
    {"input_files": [{}]},
    {"units": "many"},
    {"unit_ids": [7]},
    {"write_bytes": None},
    {"files": ["x"]},
    {"files": [{"name": "../../x"}]},
]


@pytest.mark.parametrize("change", PLANS)
def test_an_odd_plan_file_is_damage(change: Any, config: Path, tmp_path: Path) -> None:
    """A plan file of other types is refused by the merge and by status, and --fresh starts over."""
    out = tmp_path / "out"
    assert killed_at("pipeline.run:_Run.seal", 1, lambda: merge(config, out))
    path = work_directory(out) / "plan.json"
    held = json.loads(path.read_bytes())
    path.write_text(json.dumps({**held, **change} if isinstance(change, dict) else change))
    for attempt in (lambda: merge(config, out), lambda: merge_status(out)):
        with pytest.raises(MergescaleError, match="plan of an interrupted merge is damaged"):
            attempt()
    merge(config, out, fresh=True)


def test_receipts_without_a_plan_are_not_gone_on_with(config: Path, tmp_path: Path) -> None:
    """Without the plan file nothing tells which inputs the receipts are of."""
    out = tmp_path / "out"
    assert killed_at("pipeline.run:_Run.seal", 1, lambda: merge(config, out))
    (work_directory(out) / "plan.json").unlink()
    with pytest.raises(MergescaleError, match="plan of an interrupted merge is missing") as caught:
        merge(config, out)
    assert "--fresh" in caught.value.hint
    merge(config, out, fresh=True)


@pytest.mark.parametrize(
    "change",
    [{"timings": {}}, {"config": {}}, {"timings": {"seconds": "long"}}, {"timings": {"seconds": 1e999}}],
)
def test_status_reads_any_manifest(change: dict[str, Any], config: Path, tmp_path: Path) -> None:
    """What a manifest does not tell, status does not say."""
    merge(config, tmp_path / "out")
    path = tmp_path / "out" / MANIFEST_NAME
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}))
    assert describe(merge_status(tmp_path / "out")).startswith(str(tmp_path / "out"))


def test_a_lock_on_a_removed_file_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waited for a ledger that its holder then removed holds the one that lies there now, and sees
    no other holder in the removed one.
    """
    path = tmp_path / "work" / "receipts.jsonl"
    first = Ledger.open(path, "a")
    first.append("u", {})

    def finish(_seconds: float) -> None:
        first.remove()

    monkeypatch.setattr("cluster.locked_file.time.sleep", finish)
    with Ledger.open(path, "a") as second:
        assert second.done == {} and is_held(path)
        second.append("v", {})
        assert list(read_ledger(path)) == ["v"]
    assert not is_held(path)


def test_a_merge_that_cannot_be_leaves_no_work_directory(config: Path, tmp_path: Path) -> None:
    """Inputs that the work finds wrong end it with exit code 2 and without a trace, so that the mended config
    is not told of another plan.
    """
    described = json.loads(config.read_text())
    models = [described["base_model"], *(entry["model"] for entry in described["models"])]
    for number, model in enumerate(models):
        held = {**tensors(Path(model)), "position_ids": torch.tensor([1, 2, number])}
        write_tensors(Path(model), held)
    with pytest.raises(CheckpointError):
        merge(config, tmp_path / "out")
    assert not work_directory(tmp_path / "out").exists() and not (tmp_path / "out").exists()
    config.write_text(config.read_text().replace('"density": 0.3', '"density": 0.4'))
    for model in models:
        write_tensors(Path(model), {**tensors(Path(model)), "position_ids": torch.tensor([1, 2, 3])})
    merge(config, tmp_path / "out")
