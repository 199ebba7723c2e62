"""A command whose one unit of work sleeps in a worker process: for tests of how commands end."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from cluster.contract import Unit
from cluster.local import LocalExecutor
from evals import app


def doze(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Say on stderr who works, then sleep for longer than any test, with a lock like a progress bar's."""
    lock = multiprocessing.RLock()
    print(os.getpid(), file=sys.stderr, flush=True)
    time.sleep(600)
    return {"lock": repr(lock)}


@click.command()
def sleep() -> None:
    """Run one sleeping unit."""
    with LocalExecutor(1, kind="process") as executor:
        list(executor.run([Unit("doze", doze, {})]))


if __name__ == "__main__":
    app.COMMANDS["sleep"] = "tests.helpers.sleeper:sleep"
    app.main()
