"""The executor on a simulated cluster of three nodes: deaths, deadlines, devices."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.contract import ClusterError, Resources, Unit
from cluster.on_ray import RayExecutor
from cluster.retry import Policy
from tests.helpers.cluster import SimulatedCluster
from tests.helpers.units import attempts, dies_once, double, first_is_slow, meets, stuck_on_one_node

#: Only units that say how long they should take have a deadline.
QUICK = Policy(max_attempts=4, pause_s=0.2, min_deadline_s=1.0, deadline_factor=1.0)


@pytest.fixture(scope="module")
def joined(three_nodes: SimulatedCluster) -> Iterator[RayExecutor]:
    """One executor for this file: each new one would wait seconds for new workers."""
    with three_nodes.executor(policy=QUICK) as executor:
        yield executor


def test_units_run_on_all_nodes(joined: RayExecutor, tmp_path: Path) -> None:
    """Joining takes the cluster's CPUs, and two units that wait for each other run on two nodes."""
    assert joined.workers == 2
    units = [Unit(str(n), meets, {"directory": str(tmp_path), "number": n}) for n in range(2)]
    outcomes = list(joined.run(units))
    assert [outcome.fault for outcome in outcomes] == [None, None]
    assert {outcome.worker.split(":")[0] for outcome in outcomes} == {"127.0.0.3", "127.0.0.4"}


@pytest.mark.parametrize("affinity", ["", "a"], ids=["task", "actor"])
def test_gpus_are_hidden_from_those_who_asked_for_none(joined: RayExecutor, affinity: str) -> None:
    """On nodes with GPUs a CPU unit sees no GPU, and a unit that asked for one sees that one."""
    needs = {"cpu": Resources(), "gpu": Resources(gpus=1)}
    units = [Unit(name, double, {"number": 1}, needs[name], affinity=affinity) for name in needs]
    seen = {o.unit_id: o.value["CUDA_VISIBLE_DEVICES"] for o in joined.run(units) if o.value}
    assert seen["cpu"] == "" and seen["gpu"] in ("0", "1")


@pytest.mark.parametrize("affinity", ["", "a"], ids=["task", "actor"])
def test_units_have_one_numeric_thread(joined: RayExecutor, affinity: str) -> None:
    """Workers of a joined cluster use one numeric thread for a unit of one CPU."""
    (outcome,) = joined.run([Unit("u", double, {"number": 1}, affinity=affinity)])
    assert outcome.value is not None and outcome.value["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("affinity", ["", "a"], ids=["task", "actor"])
def test_a_killed_worker_costs_one_attempt(joined: RayExecutor, tmp_path: Path, affinity: str) -> None:
    """A unit whose worker is killed with kill -9 runs again with the same result."""
    payload = {"directory": str(tmp_path), "number": 0}
    (outcome,) = joined.run([Unit("u", dies_once, payload, affinity=affinity)])
    assert outcome.value is not None and outcome.value["value"] == 0
    assert outcome.attempts == attempts(tmp_path) == 2


@pytest.mark.parametrize("affinity", ["", "a"], ids=["task", "actor"])
def test_a_deadline_brings_company(joined: RayExecutor, tmp_path: Path, affinity: str) -> None:
    """A second attempt overlaps a first that hangs, and its answer counts before the first one's comes."""
    begun = time.monotonic()
    payload = {"directory": str(tmp_path), "slow_s": 12.0}
    (outcome,) = joined.run([Unit("u", first_is_slow, payload, expected_s=0.5, affinity=affinity)])
    assert time.monotonic() - begun < 11.0, "nobody waited for the first attempt"
    assert outcome.fault is None and outcome.attempts == attempts(tmp_path) == 2
    assert (tmp_path / "result").read_bytes() == b"the same bytes"


@pytest.mark.parametrize(
    "needs", [Resources(cpus=2), Resources(gpus=3), Resources(memory_bytes=1 << 50)], ids=str
)
def test_what_fits_on_no_node_is_refused(joined: RayExecutor, needs: Resources) -> None:
    """A unit that needs more than any single node has is a ClusterError that lists the nodes, at once."""
    begun = time.monotonic()
    with pytest.raises(ClusterError, match=r"no node has that: .*1 CPUs, 2 GPUs"):
        list(joined.run([Unit("u", double, {"number": 1}, needs)]))
    assert time.monotonic() - begun < 5.0


def test_a_process_joins_once(joined: RayExecutor) -> None:
    """A second executor in a connected process is refused and leaves the first one connected."""
    with pytest.raises(ClusterError, match="connected to Ray already"):
        RayExecutor().__enter__()
    assert len(list(joined.run([Unit("u", double, {"number": 1})]))) == 1


def test_an_executor_that_was_not_entered_is_refused() -> None:
    """Units need a running Ray: outside its context the executor says how to get one."""
    with pytest.raises(ClusterError, match="not running"):
        RayExecutor().run([])


@pytest.mark.parametrize("affinity", ["", "a"], ids=["task", "actor"])
def test_a_killed_node_costs_no_unit(
    three_nodes: SimulatedCluster,
    joined: RayExecutor,
    affinity: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A unit whose node is killed runs again elsewhere and this is said once; stdout stays empty."""
    payload = {"directory": str(tmp_path), "address": "127.0.0.4"}
    units = [Unit(str(n), stuck_on_one_node, {**payload, "number": n}, affinity=affinity) for n in range(2)]

    def strike() -> None:
        until = time.monotonic() + 30
        while not (attempts(tmp_path, 0) and attempts(tmp_path, 1)) and time.monotonic() < until:
            time.sleep(0.05)
        three_nodes.kill_node("127.0.0.4")

    killer = threading.Thread(target=strike)
    killer.start()
    outcomes = list(joined.run(units))
    killer.join()
    three_nodes.add_node("127.0.0.4")
    assert [outcome.fault for outcome in outcomes] == [None, None]
    assert sorted(outcome.attempts for outcome in outcomes) == [1, 2]
    assert {outcome.worker.split(":")[0] for outcome in outcomes} == {"127.0.0.3"}
    (record,) = [record for record in caplog.records if record.name == "mergescale.cluster"]
    assert "attempt 1 was lost" in record.getMessage()
    assert capsys.readouterr().out == ""
