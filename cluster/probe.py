"""What one node says of itself. Sent to every node as it is, so it uses the standard library alone.

It must work on a machine where our packages are missing or somebody else's bear their names. It judges
nothing (check.py does) and imports none of the packages it reports on.
"""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import sys
import time
from collections.abc import Mapping
from importlib import metadata, util
from pathlib import Path
from typing import Any

SHARED_WAIT_S = 5.0  # network file systems show another host's new file with this much delay


def report(order: Mapping[str, Any]) -> dict[str, Any]:
    """Facts about this process's machine and Python.

    `order`: "distributions" and "packages" to report on, names of environment "variables", and "shared":
    None or {"directory", "name" of the driver's file, "token" that stands in it, "answer": name of the file
    to write}.
    """
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "versions": {name: _version(name) for name in order["distributions"]},
        "packages": {name: package_digest(name) for name in order["packages"]},
        "cpus": len(os.sched_getaffinity(0)),
        "gpu_devices": len(list(Path("/dev").glob("nvidia[0-9]*"))),
        "free_memory_bytes": free_memory_bytes(),
        "missing_variables": [name for name in order["variables"] if name not in os.environ],
        "shared": None if order["shared"] is None else _try_shared(**order["shared"]),
    }


def package_digest(name: str) -> dict[str, str]:
    """Where a package would be imported from ("" when nowhere) and a digest of its Python sources."""
    try:
        spec = util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        return {"place": "", "digest": ""}
    digest = hashlib.sha256()
    for place in map(Path, places):
        for path in sorted(place.rglob("*.py")):
            digest.update(f"{path.relative_to(place).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return {"place": str(places[0]), "digest": digest.hexdigest()}


def free_memory_bytes() -> int:
    """Memory that new processes can have: the machine's, or what is left of this container's limit."""
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            pages = int(line.split()[1]) * 1024
    limit, used = _text("/sys/fs/cgroup/memory.max"), _text("/sys/fs/cgroup/memory.current")
    if limit.isdecimal() and used.isdecimal():
        return max(0, min(pages, int(limit) - int(used)))
    return pages


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _try_shared(directory: str, name: str, token: str, answer: str) -> str:
    """Read the driver's file, write one beside it; "" when both worked, else what did not."""
    until_s = time.monotonic() + SHARED_WAIT_S
    while _text(f"{directory}/{name}") != token:
        if time.monotonic() > until_s:
            return "the driver's file is not visible"
        time.sleep(0.1)
    try:
        Path(directory, answer).write_text(token)
    except OSError as error:
        return f"not writable: {error.strerror}"
    return ""


def _text(path: str) -> str:
    """A small file's text, stripped; "" when it cannot be read."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
