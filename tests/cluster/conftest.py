"""Shared by the tests of the cluster wing: an executor of each kind, and a simulated cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.contract import Executor
from cluster.local import LocalExecutor
from cluster.on_ray import RayExecutor
from cluster.retry import Policy
from tests.helpers.processes import descendants, kill, wait_until_gone

QUICK = Policy(max_attempts=3, pause_s=0.01)


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ray keeps tokens and settings in HOME: these tests have their own, and read nobody's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module", params=["thread", "process", "ray"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Two workers of each kind. What Ray started must have ended with its context."""
    if request.param != "ray":
        with LocalExecutor(2, request.param, policy=QUICK) as local:
            yield local
        return
    before = descendants(os.getpid())
    with RayExecutor(workers=2, gpus=0, policy=QUICK) as ray:
        temp_dir = ray._surroundings.temp_dir
        yield ray
        started = {pid: start for pid, start in descendants(os.getpid()).items() if pid not in before}
    assert not Path(temp_dir).exists()
    left = wait_until_gone(started, 5.0)
    kill(started)
    assert not left, f"processes {left} outlived the executor"


@pytest.fixture
def isolated(executor: Executor) -> Executor:
    """Executors whose workers may die."""
    if getattr(executor, "kind", "") == "thread":
        pytest.skip("a thread cannot die without its process")
    return executor
