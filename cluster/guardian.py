"""End what an embedded Ray leaves behind when its driver is killed. Run as a program beside the driver.

Ray's servers end with their parent, but its agents do not: they wait for a server that will not come back.
This program waits until its standard input closes, which the driver's end does however it comes, and then
ends those of the driver's process group that have files of the driver's Ray open. It uses the standard
library alone and is started by its path, so that it is there at once.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_LONGEST_S = 10.0
_PAUSE_S = 0.2


def post(temp_dir: str) -> subprocess.Popen[bytes]:
    """Start a guardian of the Ray whose files lie in `temp_dir`; it waits until this process ends."""
    command = [sys.executable, "-I", "-S", str(Path(__file__).resolve()), temp_dir, str(os.getpid())]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)


def dismiss(guardian: subprocess.Popen[bytes]) -> None:
    """Let a guardian look for what is left now, and wait until it has ended."""
    assert guardian.stdin is not None
    guardian.stdin.close()
    try:
        guardian.wait(_LONGEST_S + 5.0)
    except subprocess.TimeoutExpired:
        guardian.kill()
        guardian.wait()


def watch(temp_dir: str, driver: int) -> None:
    """Wait for the driver's end, then end what it left; see the module."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    until_s = time.monotonic() + _LONGEST_S
    while (left := _left(temp_dir, {driver, os.getpid()})) and time.monotonic() < until_s:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(_PAUSE_S)
    if not Path(f"/proc/{driver}").exists():
        shutil.rmtree(temp_dir, ignore_errors=True)


def _left(temp_dir: str, but: set[int]) -> list[int]:
    """Processes of this user and this process group that have something open below `temp_dir`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in but:
            continue
        pid = int(entry.name)
        try:
            if entry.stat().st_uid != os.getuid() or os.getpgid(pid) != os.getpgrp():
                continue
            opened = (os.readlink(link) for link in (entry / "fd").iterdir())
            if any(name.startswith(f"{temp_dir}/") for name in opened):
                found.append(pid)
        except OSError:  # it ended meanwhile
            continue
    return found


if __name__ == "__main__":
    watch(sys.argv[1], int(sys.argv[2]))
