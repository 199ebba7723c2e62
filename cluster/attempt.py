"""One attempt at one unit, in whichever process it happens: thread, child process or Ray worker.

Whatever a unit raises becomes data here, where its cause is still attached: exceptions lose their cause,
and sometimes their life, on the way through a pickle. It never decides whether to try again (retry.py
judges, agenda.py acts).
"""

from __future__ import annotations

import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cluster.contract import Fault
from cluster.retry import Kind, WorkerLost, classify

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Result:
    """What came of one attempt: a value or a fault, how long the unit's function ran, and where."""

    value: dict[str, Any] | None
    fault: Fault | None
    elapsed_s: float
    worker: str


def attempt(
    function: Callable[[Mapping[str, Any]], dict[str, Any]], payload: Mapping[str, Any], worker: str
) -> Result:
    """Call the unit's function once. Raises nothing but KeyboardInterrupt and its like."""
    begun = time.monotonic()
    try:
        value = function(payload)
        if not isinstance(value, dict):
            raise TypeError(f"a unit returns a dict, not {type(value).__name__}")
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- the boundary: everything becomes a Fault
        return Result(None, fault_of(error), time.monotonic() - begun, worker)
    return Result(value, None, time.monotonic() - begun, worker)


def fault_of(error: BaseException, kind: Kind | None = None) -> Fault:
    """An exception as data. `kind` overrides the classification where the caller knows better."""
    name = type(error).__name__
    message = f"{name}: {error}" if str(error) else name
    text = "".join(traceback.format_exception(error))
    return Fault(kind or classify(error), message, text, error)


def lost(message: str, elapsed_s: float, worker: str) -> Result:
    """The result of an attempt whose worker never answered."""
    return Result(None, Fault("machine", message, "", WorkerLost(message)), elapsed_s, worker)


def attempt_bytes(order: bytes, worker: str) -> bytes:
    """`attempt` across a process boundary: a pickled (function, payload) in, a pickled Result out."""
    begun = time.monotonic()
    try:
        function, payload = pickle.loads(order)
    except Exception as error:  # noqa: BLE001 -- unpickling imports the user's modules: anything can happen
        result = Result(None, fault_of(error), time.monotonic() - begun, worker)
    else:
        result = attempt(function, payload, worker)
    return _packed(result)


def unpacked(answer: bytes, worker: str) -> Result:
    """The Result that `attempt_bytes` packed; a program fault when this process cannot read it."""
    try:
        result: Result = pickle.loads(answer)
    except Exception as error:  # noqa: BLE001 -- as above, in the other direction
        return Result(None, fault_of(error, "program"), 0.0, worker)
    return result


def use_threads(cpus: float) -> None:
    """Let numeric libraries of this process use as many threads as the unit has CPUs, and at least one.

    The variables count for libraries not loaded yet; torch is told when it is here already, and never
    imported.
    """
    threads = max(1, int(cpus))
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def _packed(result: Result) -> bytes:
    """Pickle a result; drop an exception that would not survive the trip, keep its text."""
    if result.fault is not None and not _survives(result.fault.exception):
        result = replace(result, fault=replace(result.fault, exception=None))
    try:
        return pickle.dumps(result)
    except Exception as error:  # noqa: BLE001 -- the value is the user's: its pickling can raise anything
        return pickle.dumps(replace(result, value=None, fault=replace(fault_of(error), exception=None)))


def _survives(error: BaseException | None) -> bool:
    """Whether the exception can be pickled and, less obvious, unpickled."""
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # noqa: BLE001 -- a constructor that asks for more than `args` raises what it likes
        return False
