"""Joining a running cluster, leaving it as it was, and asking its nodes whether they fit."""

from __future__ import annotations

import itertools
import json
import logging
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster import check as checking
from cluster.cli import cluster as cluster_command
from cluster.contract import ClusterError, Unit
from cluster.on_ray import RayExecutor
from cluster.surroundings import missing_settings
from tests.helpers.cluster import SimulatedCluster
from tests.helpers.processes import descendants, wait_until_gone
from tests.helpers.units import double, sleeps


@pytest.fixture
def address(three_nodes: SimulatedCluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """The cluster's address, in an environment that can join it."""
    for name, value in three_nodes.environment.items():
        monkeypatch.setenv(name, value)
    return three_nodes.address


def test_leaving_does_not_stop_the_cluster(address: str) -> None:
    """A cluster that was joined can be joined again, and the environment is as it was."""
    before = dict(os.environ)
    for _ in range(2):
        with RayExecutor(address) as executor:
            assert executor.workers == 2
        assert dict(os.environ) == before


def test_workers_asked_for_are_a_bound(address: str, tmp_path: Path) -> None:
    """With one worker asked for, units on a cluster of two CPUs never overlap."""
    payload = {"directory": str(tmp_path), "seconds": 0.2}
    with RayExecutor(address, workers=1) as executor:
        outcomes = list(executor.run(Unit(str(n), sleeps, {**payload, "number": n}) for n in range(3)))
    spans = sorted((o.value["begun"], o.value["ended"]) for o in outcomes if o.value)
    assert len(spans) == 3
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_actors_end_with_the_context(address: str) -> None:
    """What units with an affinity ran in is gone once the cluster was left, and its CPUs are free again."""
    with RayExecutor(address) as executor:
        units = [Unit(str(n), double, {"number": n}, affinity=str(n)) for n in range(2)]
        pids = {outcome.value["pid"] for outcome in executor.run(units) if outcome.value}
        started = {pid: start for pid, start in descendants(os.getpid()).items() if pid in pids}
    assert len(started) == 2 and wait_until_gone(started, 60.0) == []
    with RayExecutor(address) as executor:
        assert all(outcome.fault is None for outcome in executor.run(units))


def test_default_health_settings_are_warned_of_once(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Joining without keepalive and health settings says so once, with what to set; else nothing is said."""
    with RayExecutor(address):
        assert caplog.records == []
    for name in [name for name in os.environ if name.startswith(("RAY_grpc_", "RAY_health_"))]:
        monkeypatch.delenv(name)
    assert missing_settings()
    with caplog.at_level(logging.WARNING), RayExecutor(address) as executor:
        list(executor.run([Unit("u", double, {"number": 1})]))
    (record,) = caplog.records
    assert "RAY_grpc_client_keepalive_time_ms=10000" in record.getMessage()


def test_a_sound_cluster_passes(address: str, tmp_path: Path) -> None:
    """Three nodes with our code and a shared directory: exit 0, a line each, and no file left behind."""
    command = ["check", "--address", address, "--shared", str(tmp_path)]
    result = CliRunner().invoke(cluster_command, command)
    assert result.exit_code == 0, result.output
    header, *rows = result.stdout.splitlines()
    assert header.split()[:3] == ["node", "host", "fits"]
    assert [row.split()[0] for row in sorted(rows)] == ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    assert all(row.split()[2] == "yes" and row.split()[-1] == "yes" for row in rows)
    assert list(tmp_path.iterdir()) == []


def test_foreign_code_and_a_missing_mount_are_found(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes with other packages than the driver's, or without the shared directory, fail with a hint."""
    answers = checking.probe.report

    def elsewhere(order: dict[str, object]) -> dict[str, object]:
        """The driver of this test has another `evals` than the nodes."""
        report = answers(order)
        report["packages"]["evals"] = {"place": "/elsewhere", "digest": "0"}
        return report

    ask = checking._ask

    def unmounted(shared: dict[str, str]) -> list[checking.Node]:
        """The nodes look for the shared directory where it is not."""
        monkeypatch.setattr(checking.probe, "report", answers)
        return ask({**shared, "directory": str(tmp_path / "not-there")})

    monkeypatch.setattr(checking.probe, "report", elsewhere)
    monkeypatch.setattr(checking, "_ask", unmounted)
    monkeypatch.setattr(checking.probe, "SHARED_WAIT_S", 0.0)
    result = CliRunner().invoke(
        cluster_command, ["check", "--address", address, "--shared", str(tmp_path), "--json"]
    )
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert not report["ok"] and len(report["nodes"]) == 3
    found = {problem["what"] for problem in report["problems"] if problem["node"] == "127.0.0.3"}
    assert any("package evals" in what for what in found)
    assert any("shared directory" in what for what in found) and len(found) == 2
    assert result.stderr.count("hint:") == len(report["problems"]) == 6


def test_a_shared_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A shared directory in which this machine cannot write is refused before the cluster is asked."""
    missing = tmp_path / "missing"
    with pytest.raises(ClusterError, match="not writable from here"):
        checking.check(None, missing)
