"""Whatever kills the driver, the same command continues and the bytes are the same; nothing half-made is ever
published.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.contract import ClusterError
from cluster.ledger import Ledger, read_ledger
from pipeline.checkpoint.commit import verify
from pipeline.errors import OutputError, RunError, VerifyError
from pipeline.status import describe, merge_status
from pipeline.work_directory import work_directory
from tests.helpers.crash import killed_at
from tests.helpers.merging import (
    merge_into_files,
    plan,
    ties_in_small_units,
    weight_bytes,
)

#: (function, its n-th call): a stop of the merge before which the driver is killed.
STOPS = [
    ("pipeline.staging:create_sized", 2),
    ("pipeline.checkpoint.files:write_from", 1),
    ("pipeline.checkpoint.files:write_from", 3),
    ("pipeline.staging:sync_directory", 1),
    ("cluster.ledger:Ledger.append", 1),
    ("cluster.ledger:Ledger.append", 7),
    ("cluster.ledger:Ledger.append", 23),
    ("pipeline.work.writing:write_from", 5),
    ("pipeline.underway:furnish", 1),
    ("pipeline.publishing:write_manifest", 1),
    ("pipeline.underway:publish", 1),
    ("pipeline.staging:Staging.discard", 1),
]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TIES merge over the whole model, cut into many small units, output in several files."""
    return ties_in_small_units(tmp_path, monkeypatch)


@pytest.mark.parametrize(("point", "call"), STOPS)
def test_a_killed_driver_is_resumed(point: str, call: int, config: Path, tmp_path: Path) -> None:
    """Killed before any stop, the output is absent or complete; resumed, it has the bytes of an undisturbed
    run.
    """
    merge_into_files(config, tmp_path / "calm")
    out = tmp_path / "out"
    assert killed_at(point, call, lambda: merge_into_files(config, out)), "the stop was never reached"
    if out.exists():
        verify(out)
    state = merge_status(out)
    assert state["state"] in ("interrupted", "complete") and describe(state)
    merge_into_files(config, out)
    assert weight_bytes(out) == weight_bytes(tmp_path / "calm")
    verify(out)
    merge_into_files(config, out)
    assert not work_directory(out).exists()


def lose_all(path: Path) -> None:
    """The file is there with its size, and none of its bytes came to the disk."""
    path.write_bytes(bytes(path.stat().st_size))


def lose_header(path: Path) -> None:
    """The first page never came to the disk."""
    path.write_bytes(bytes(64) + path.read_bytes()[64:])


def lose_end(path: Path) -> None:
    """The file was cut short."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_header_bit(path: Path) -> None:
    """One bit of a tensor's name is another."""
    data = bytearray(path.read_bytes())
    data[data.index(b"weight")] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [lose_all, lose_header, lose_end, flip_header_bit, Path.unlink])
@pytest.mark.parametrize(
    ("point", "call"), [("cluster.ledger:Ledger.append", 23), ("pipeline.run:_Run.seal", 1)]
)
def test_receipts_do_not_vouch_for_bytes_that_a_power_loss_took(
    damage: Callable[[Path], object], point: str, call: int, config: Path, tmp_path: Path
) -> None:
    """Whatever a loss of power leaves of the staged files though their receipts are on the disk, resuming
    gives the bytes of an undisturbed run.
    """
    merge_into_files(config, tmp_path / "calm")
    out = tmp_path / "out"
    assert killed_at(point, call, lambda: merge_into_files(config, out))
    for file in work_directory(out).glob("model-*/*.safetensors"):
        damage(file)
    merge_into_files(config, out)
    assert weight_bytes(out) == weight_bytes(tmp_path / "calm")
    verify(out)


@pytest.mark.parametrize("damage", [lose_header, flip_header_bit, lose_end])
def test_a_header_damaged_while_the_merge_runs_is_never_published(
    damage: Callable[[Path], object], config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header that is not the plan's ends the run as VerifyError; the same command mends it."""
    from pipeline.run import _Run

    def damaged(self: _Run) -> list[dict[str, str]]:
        damage(next(self.merges[0].staging.model.glob("*.safetensors")))
        return original(self)

    out, original = tmp_path / "out", _Run.seal
    monkeypatch.setattr(_Run, "seal", damaged)
    with pytest.raises(RunError):
        merge_into_files(config, out)
    assert not out.exists()
    monkeypatch.setattr(_Run, "seal", original)
    merge_into_files(config, out)
    merge_into_files(config, tmp_path / "calm")
    assert weight_bytes(out) == weight_bytes(tmp_path / "calm")


@pytest.mark.parametrize("damage", [lose_header, flip_header_bit])
def test_verify_finds_a_damaged_header_of_a_published_model(
    damage: Callable[[Path], object], config: Path, tmp_path: Path
) -> None:
    """The digests of the manifest cover the headers."""
    merge_into_files(config, tmp_path / "out")
    damage(max((tmp_path / "out").glob("*.safetensors")))
    with pytest.raises(VerifyError, match="not what its manifest says"):
        verify(tmp_path / "out")


def test_finished_units_are_not_done_again(config: Path, tmp_path: Path) -> None:
    """A resumed run does only what has no receipt, unless the bytes on disk no longer agree with it."""
    out = tmp_path / "out"
    total = len(plan(config, shard_size_bytes=4000).units)
    assert killed_at("pipeline.underway:furnish", 1, lambda: merge_into_files(config, out))
    ledger = work_directory(out) / "receipts.jsonl"
    merged = [unit for unit, receipt in read_ledger(ledger).items() if "digests" in receipt]
    assert len(merged) == total
    assert not killed_at("pipeline.work.writing:write_from", 1, lambda: merge_into_files(config, out)), (
        "nothing is written again"
    )
    shutil.rmtree(out)
    assert killed_at("pipeline.underway:furnish", 1, lambda: merge_into_files(config, out))
    file = max((work_directory(out)).glob("model-*/*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 0x40
    file.write_bytes(data)
    merge_into_files(config, out)
    merge_into_files(config, tmp_path / "calm")
    assert weight_bytes(out) == weight_bytes(tmp_path / "calm")


def test_an_interrupted_run_of_another_plan_is_refused(config: Path, tmp_path: Path) -> None:
    """Another plan in the work directory is an error that names both; `fresh` starts over."""
    out = tmp_path / "out"
    assert killed_at("pipeline.underway:furnish", 1, lambda: merge_into_files(config, out))
    text = config.read_text().replace('"density": 0.3', '"density": 0.4')
    config.write_text(text)
    with pytest.raises(OutputError, match="another plan") as caught:
        merge_into_files(config, out)
    assert "--fresh" in caught.value.hint
    merge_into_files(config, out, fresh=True)
    verify(out)


def test_inputs_that_changed_meanwhile_are_refused(config: Path, tmp_path: Path) -> None:
    """An input rewritten since the interruption is not mixed with what was merged before."""
    out = tmp_path / "out"
    assert killed_at("cluster.ledger:Ledger.append", 9, lambda: merge_into_files(config, out))
    model = Path(json.loads(config.read_text())["models"][0]["model"])
    file = next(model.glob("*.safetensors"))
    stamp = file.stat().st_mtime_ns + 10**9
    os.utime(file, ns=(stamp, stamp))
    with pytest.raises(OutputError, match="has changed") as caught:
        merge_into_files(config, out)
    assert caught.value.where == str(file)


def test_two_drivers_do_not_share_an_output(config: Path, tmp_path: Path) -> None:
    """While one driver holds the work directory a second one is told who it is, even with `fresh`."""
    out = tmp_path / "out"
    assert killed_at("pipeline.underway:furnish", 1, lambda: merge_into_files(config, out))
    with Ledger.open(work_directory(out) / "receipts.jsonl", plan(config, shard_size_bytes=4000).fingerprint):
        for fresh in (False, True):
            with pytest.raises(ClusterError, match=str(os.getpid())):
                merge_into_files(config, out, fresh=fresh)
    merge_into_files(config, out)


def test_a_full_disk_ends_clearly_and_can_be_resumed(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC while writing is a RunError that says what to do; nothing is published, the rest follows."""
    from pipeline.work import writing

    original, left = writing.write_from, [6]

    def failing(descriptor: int, data: memoryview, offset: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.safetensors")
        original(descriptor, data, offset)

    monkeypatch.setattr(writing, "write_from", failing)
    with pytest.raises(RunError, match="disk is full") as caught:
        merge_into_files(config, tmp_path / "out")
    assert "same command" in caught.value.hint and not (tmp_path / "out").exists()
    merge_into_files(config, tmp_path / "out")
    verify(tmp_path / "out")


def test_a_disk_too_small_is_noticed_before_work(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Free space below the model's size is an error before anything is made."""
    monkeypatch.setattr("pipeline.output.free_bytes", lambda path: 10)
    with pytest.raises(OutputError, match="does not fit"):
        merge_into_files(config, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not work_directory(tmp_path / "out").exists()
