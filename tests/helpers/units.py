"""Functions for units in executor tests. They leave a trace of every attempt, so that tests can count."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_WORKER = threading.local()  # what a worker has loaded


class Fussy(Exception):
    """Pickles, but cannot be unpickled: its constructor asks for more than it hands on."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class Fielded(Exception):
    """An exception with fields that survive a pickle."""

    def __init__(self, what: str, where: str = "") -> None:
        super().__init__(what, where)
        self.what, self.where = what, where


def double(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Twice the number, and what surrounded the attempt."""
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    return {
        "value": 2 * payload["number"],
        "pid": os.getpid(),
        **{name: os.environ.get(name) for name in names},
    }


def chatty(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Prints to stdout, as a careless library might."""
    print("a line on stdout")
    sys.stdout.flush()
    return {}


def raises(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Raises what the payload names."""
    trace(payload)
    match payload["error"]:
        case "fields":
            raise Fielded("wrong", where="there")
        case "fussy":
            raise Fussy("this", "that")
        case "exit":
            sys.exit("enough")
        case "none":
            return None  # type: ignore[return-value]  # that is the point
        case number:
            raise OSError(number, os.strerror(number))


def flaky(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Fails with EIO until it has been tried `works_at` times."""
    if trace(payload) < payload["works_at"]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return {"value": payload["number"]}


def dies_once(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Kills its own process at the first attempt."""
    if trace(payload) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"value": payload["number"], "pid": os.getpid()}


def first_is_slow(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The first attempt takes `slow_s`, later ones no time. All write the same bytes."""
    begun = time.time()
    if trace(payload) == 1:
        time.sleep(payload["slow_s"])
    Path(payload["directory"], "result").write_bytes(b"the same bytes")
    return {"begun": begun, "ended": time.time()}


def stuck_on_one_node(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Meets its pair, so that both nodes have one; then takes minutes on the Ray node with this address."""
    import ray

    trace(payload)
    meets(payload)
    time.sleep(300.0 if ray.util.get_node_ip_address() == payload["address"] else 2.0)
    return {}


def sleeps(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Takes its time; the value is when it ran and where."""
    trace(payload)
    begun = time.time()
    time.sleep(payload["seconds"])
    return {"begun": begun, "ended": time.time(), "pid": os.getpid()}


def loads(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Loads the payload's model unless this worker (a process, or a thread of one) holds it already. Takes
    its time, and kills its own process at the first attempt where the payload says so.

    Returns the pid and how often the worker has loaded anything.
    """
    if getattr(_WORKER, "model", None) != payload["model"]:
        _WORKER.model = payload["model"]
        _WORKER.loads = getattr(_WORKER, "loads", 0) + 1
    if payload.get("dies") and trace(payload) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(payload.get("seconds", 0.0))
    return {"pid": os.getpid(), "thread": threading.get_ident(), "loads": _WORKER.loads}


def meets(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Ends only when the other unit of its pair runs at the same time."""
    directory = Path(payload["directory"])
    (directory / f"here-{payload['number']}").touch()
    until = time.monotonic() + 30
    while not (directory / f"here-{1 - payload['number']}").exists():
        if time.monotonic() > until:
            raise TimeoutError("the other one did not come")
        time.sleep(0.01)
    return {}


def trace(payload: Mapping[str, Any]) -> int:
    """Note an attempt in the payload's directory; returns how many there have been, this one included."""
    directory, name = Path(payload["directory"]), payload.get("number", 0)
    (directory / f"attempt-{name}-{os.getpid()}-{time.monotonic_ns()}").touch()
    return attempts(directory, name)


def attempts(directory: Path, number: int = 0) -> int:
    """How many attempts the unit with this number has had."""
    return len(list(directory.glob(f"attempt-{number}-*")))
