"""Joining what is not there fails soon, and says what to do."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from cluster.contract import ClusterError
from cluster.on_ray import RayExecutor


def refused(address: str) -> ClusterError:
    """The error of joining there, which must come soon."""
    begun = time.monotonic()
    with pytest.raises(ClusterError) as caught:
        RayExecutor(address).__enter__()
    assert time.monotonic() - begun < 10.0
    assert caught.value.hint
    return caught.value


def test_a_port_where_nobody_listens() -> None:
    """A port without a listener is named at once, where Ray by itself tries for minutes."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.3", 0))
        port = closed.getsockname()[1]
    assert f"nothing listens at 127.0.0.3:{port}" in str(refused(f"127.0.0.3:{port}"))


@pytest.mark.parametrize("address", ["ray://10.0.0.1:10001", "http://10.0.0.1:8265"])
def test_other_kinds_of_address(address: str) -> None:
    """Client and dashboard addresses are refused with the kind that works."""
    assert "host:port" in refused(address).hint


def test_auto_without_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`auto` on a machine without a Ray cluster says so."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", Mock(return_value=set()))
    assert '"auto" names no Ray cluster' in str(refused("auto"))


def test_a_machine_too_busy_to_start_ray_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ray raises when its processes do not start in time is a ClusterError with a way out; an
    error of a kind of its own goes through.
    """
    monkeypatch.setattr("ray.init", Mock(side_effect=Exception("The current node timed out during startup.")))
    with pytest.raises(ClusterError, match="timed out during startup") as caught:
        RayExecutor(workers=1).__enter__()
    assert "--executor local" in caught.value.hint
    monkeypatch.setattr("ray.init", Mock(side_effect=KeyError("x")))
    with pytest.raises(KeyError):
        RayExecutor(workers=1).__enter__()
