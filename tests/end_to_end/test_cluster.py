"""A merge on a simulated cluster of three nodes: local's bytes, whatever is killed meanwhile."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline import run_merge
from pipeline.plan.build import DEFAULT_SHARD_BYTES
from pipeline.staging import Staging
from pipeline.work_directory import work_directory
from tests.helpers.cluster import SimulatedCluster
from tests.helpers.killer import run_unit_slowly
from tests.helpers.merging import merge, plan, small_tiles, weight_bytes, write_config
from tests.helpers.models import write_family

ROOT = Path(__file__).parents[2]
#: The command with units small enough for a tiny model to have many, each slow enough to be interrupted.
SMALL_UNITS = """
import sys
import pipeline.run
from pipeline.plan import cut
from tests.helpers.killer import run_unit_slowly
cut.MIN_UNIT_BYTES = 4096
pipeline.run.run_unit = run_unit_slowly
from evals.app import main
main()
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TIES merge over the whole model in many units; `local` beside it is its undisturbed result."""
    base, experts = write_family(tmp_path / "models", experts=2, dtype="bfloat16")
    config = write_config(tmp_path / "merge.json", "ties-model", base, experts)
    merge(config, tmp_path / "local")
    small_tiles(monkeypatch)
    return config


def receipts(out: Path) -> int:
    """Lines in the ledger of an unfinished merge."""
    ledger = work_directory(out) / "receipts.jsonl"
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


def test_three_nodes_give_the_local_bytes(
    three_nodes: SimulatedCluster, config: Path, tmp_path: Path
) -> None:
    """Units spread over the nodes of a cluster lay down the bytes of a local merge."""
    with three_nodes.executor() as executor:
        assert executor.workers == 2
        run_merge(plan(config), tmp_path / "out", executor)
    assert weight_bytes(tmp_path / "out") == weight_bytes(tmp_path / "local")


def test_a_killed_node_changes_nothing(
    three_nodes: SimulatedCluster, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node killed in the middle of a merge costs time; units run elsewhere, the bytes are the same."""
    monkeypatch.setattr("pipeline.run.run_unit", run_unit_slowly)
    killed = threading.Event()
    append = Staging.save_partials

    def kill_then_save(self: Staging, unit_id: str, data: dict[str, object]) -> None:
        if not killed.is_set():
            killed.set()
            three_nodes.kill_node("127.0.0.4")
        append(self, unit_id, data)

    monkeypatch.setattr(Staging, "save_partials", kill_then_save)
    try:
        with three_nodes.executor() as executor:
            run_merge(plan(config), tmp_path / "out", executor)
    finally:
        three_nodes.add_node("127.0.0.4")
    assert killed.is_set()
    assert weight_bytes(tmp_path / "out") == weight_bytes(tmp_path / "local")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))])
def test_a_killed_driver_is_continued(
    seed: int, three_nodes: SimulatedCluster, config: Path, tmp_path: Path
) -> None:
    """The driver is killed (SIGKILL) at a random moment; the same merge, run again, has the same bytes."""
    out = tmp_path / "out"
    arguments = ["merge", str(config), str(out), "--address", three_nodes.address, "--no-progress"]
    environment = {**os.environ, **three_nodes.environment, "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen(
        [sys.executable, "-c", SMALL_UNITS, *arguments], env=environment, cwd=ROOT, stderr=subprocess.PIPE
    )
    wanted = random.Random(seed).randrange(2, 20)
    while receipts(out) < wanted and driver.poll() is None and not out.exists():
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    _, complaint = driver.communicate()
    assert driver.returncode == -signal.SIGKILL, complaint.decode()
    assert not out.exists() and receipts(out) >= wanted
    with three_nodes.executor() as executor:
        run_merge(plan(config, shard_size_bytes=DEFAULT_SHARD_BYTES), out, executor)
    assert weight_bytes(out) == weight_bytes(tmp_path / "local")
