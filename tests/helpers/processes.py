"""Finding and ending processes that a test started, by pid and start time; never by name."""

from __future__ import annotations

import ipaddress
import os
import signal
import time
from pathlib import Path


def descendants(root: int) -> dict[int, str]:
    """Every process below `root`: pid -> start time (ticks since boot), which tells reused pids apart."""
    children: dict[int, list[int]] = {}
    started: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
            started[int(entry.name)] = fields[19]
    found: dict[int, str] = {}
    waiting = [root]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found[child] = started[child]
            waiting.append(child)
    return found


def alive(processes: dict[int, str]) -> list[int]:
    """Those of the given processes that still run (zombies do not)."""
    return [pid for pid, start in processes.items() if (f := _stat(pid)) and f[19] == start and f[0] != "Z"]


def wait_until_gone(processes: dict[int, str], seconds: float) -> list[int]:
    """Wait until none of them runs; returns those that still do when the time is over."""
    until = time.monotonic() + seconds
    while (left := alive(processes)) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def kill(processes: dict[int, str]) -> None:
    """SIGKILL those that still run."""
    for pid in alive(processes):
        os.kill(pid, signal.SIGKILL)


def listening(pids: set[int]) -> set[str]:
    """Local IP addresses on which these processes accept TCP connections."""
    sockets = {
        os.readlink(link)[8:-1]
        for pid in pids
        for link in Path(f"/proc/{pid}/fd").glob("*")
        if link.is_symlink() and os.readlink(link).startswith("socket:")
    }
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                found.add(_address(fields[1].split(":")[0]))
    return found


def _address(kernel: str) -> str:
    """An address as the kernel writes it (little-endian words in hex) in the usual form."""
    words = [bytes.fromhex(kernel[start : start + 8])[::-1] for start in range(0, len(kernel), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
