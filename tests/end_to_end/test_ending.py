"""How commands end when they are told to: at once, with their workers, with the shell's exit code."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.processes import descendants, wait_until_gone

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_request_to_end_takes_the_workers_along(number: signal.Signals, code: int) -> None:
    """SIGTERM, Ctrl-C and a closed terminal end the command, which says what is kept and nothing else, and no
    worker process goes on computing for nobody.
    """
    command = [sys.executable, "-m", "tests.helpers.sleeper", "sleep"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        worker = int(process.stderr.readline())
        below = descendants(process.pid)
        assert worker in below
        process.send_signal(number)
        said = process.stderr.read().strip()
        assert said == "interrupted: finished work is kept; the same command continues"
        assert process.wait() == code
    assert not wait_until_gone(below, 60.0)
