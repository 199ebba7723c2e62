"""A crash injector: run work in a child process and kill it at the n-th call of a named function."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from importlib import import_module
from typing import Any
from unittest.mock import patch


def killed_at(point: str, call: int, work: Callable[[], Any]) -> bool:
    """Fork, run `work` in the child and kill it just before the `call`-th call (from 1) of
    `module:name[.name]`.

    True if it was killed, False if it finished without getting there. A failure of the work itself is an
    AssertionError.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with _trap(point, call):
                work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, f"the child died of signal {os.WTERMSIG(status)}"
        return True
    assert os.WEXITSTATUS(status) == 0, "the work failed by itself"
    return False


def _trap(point: str, call: int) -> Any:
    """A patch that counts the calls of the function and kills this process at the chosen one."""
    module, _, path = point.partition(":")
    holder: Any = import_module(module)
    *outer, name = path.split(".")
    for each in outer:
        holder = getattr(holder, each)
    original = getattr(holder, name)
    left = [call]

    def counted(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    return patch.object(holder, name, counted)
