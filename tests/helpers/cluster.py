"""A cluster of three Ray nodes on loopback addresses of this machine, run by a process of its own.

`simulated_cluster()` starts it (head 127.0.0.2 without CPUs, workers 127.0.0.3 and 127.0.0.4 with one CPU
and two imaginary GPUs each) and ends it, with everything below it, when the context closes; if the test
process dies, its closed pipe ends it too. The fixture `three_nodes` starts one for a whole session.
127.0.0.1 is left out because Ray rewrites it to the outward address.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from cluster.on_ray import RayExecutor
from tests.helpers.processes import descendants, kill, wait_until_gone

ROOT = Path(__file__).parents[2]
START_WAIT_S, STOP_WAIT_S = 120.0, 20.0
STORE_BYTES = 80 << 20
#: A lost node is noticed after two to three seconds.
FAST_HEALTH = {
    "RAY_grpc_client_keepalive_time_ms": "2000",
    "RAY_grpc_client_keepalive_timeout_ms": "2000",
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


class SimulatedCluster:
    """A running simulated cluster. `environment` is what a driver needs to join at `address`."""

    def __init__(self, host: subprocess.Popen[str], directory: Path, environment: dict[str, str]) -> None:
        self._host, self.directory, self.environment = host, directory, environment
        self.address: str = self._hear()["address"]

    def kill_node(self, address: str) -> None:
        """SIGKILL the processes of the node with this address: its raylet and agents."""
        self._tell("kill", address)

    def add_node(self, address: str) -> None:
        """Start a worker node at this address, like the first two."""
        self._tell("add", address)

    @contextmanager
    def executor(self, **options: Any) -> Iterator[RayExecutor]:
        """An executor joined to this cluster; the test's environment is the driver's meanwhile."""
        with patch.dict(os.environ, self.environment), RayExecutor(self.address, **options) as executor:
            yield executor

    def stop(self) -> None:
        """End the host process and everything below it."""
        started = {**descendants(self._host.pid)}
        assert self._host.stdin is not None and self._host.stdout is not None
        self._host.stdin.close()
        try:
            self._host.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            self._host.kill()
            self._host.wait()
        self._host.stdout.close()
        left = wait_until_gone(started, 5.0)
        kill(started)
        shutil.rmtree(self.directory, ignore_errors=True)
        assert not left, f"processes {left} outlived the simulated cluster"

    def _tell(self, command: str, address: str) -> None:
        assert self._host.stdin is not None
        self._host.stdin.write(json.dumps({"command": command, "address": address}) + "\n")
        self._host.stdin.flush()
        self._hear()

    def _hear(self) -> dict[str, str]:
        assert self._host.stdout is not None
        line = self._host.stdout.readline()
        if not line:
            log = (self.directory / "host.log").read_text()
            raise RuntimeError(f"the simulated cluster ended:\n{log[-3000:]}")
        answer: dict[str, str] = json.loads(line)
        return answer


@contextmanager
def simulated_cluster() -> Iterator[SimulatedCluster]:
    """Start three nodes; end them on leaving."""
    directory = Path(tempfile.mkdtemp(prefix="msim-", dir="/tmp"))
    (directory / "ray").mkdir()
    token = os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32)
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        **FAST_HEALTH,
    }
    own = {"HOME": str(directory), "RAY_TMPDIR": str(directory), "PYTHONPATH": str(ROOT)}
    with (directory / "host.log").open("w") as log:
        host = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.cluster"],
            cwd=ROOT,
            env={**os.environ, **environment, **own},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        cluster = SimulatedCluster(host, directory, environment)
    except BaseException:
        started = descendants(host.pid)
        host.kill()
        host.wait()
        kill(started)
        raise
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def three_nodes() -> Iterator[SimulatedCluster]:
    """One simulated cluster for the session. A test that kills a node adds it again."""
    with simulated_cluster() as cluster:
        yield cluster


def _host() -> None:
    """The process that owns the nodes: obeys JSON lines on stdin until it closes."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "num_gpus": 0, "include_dashboard": False, "node_ip_address": "127.0.0.2"}
    nodes = Cluster(initialize_head=True, head_node_args={**head, "object_store_memory": STORE_BYTES})
    workers = {}

    def add(address: str) -> None:
        workers[address] = nodes.add_node(
            num_cpus=1, num_gpus=2, node_ip_address=address, object_store_memory=STORE_BYTES
        )

    def say(**answer: str) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    for address in ("127.0.0.3", "127.0.0.4"):
        add(address)
    say(address=nodes.address)
    for line in sys.stdin:
        order = json.loads(line)
        if order["command"] == "kill":
            nodes.remove_node(workers.pop(order["address"]), allow_graceful=False)
        else:
            add(order["address"])
        say(done=order["command"])
    nodes.shutdown()


if __name__ == "__main__":
    _host()
