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

#: Limit and usage of a control group: version 2 (its hard and its soft limit), version 1.
_LIMITS = (
    ("memory.max", "memory.current"),
    ("memory.high", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)
#: Version 1 counts those of the groups below under a prefix.
_CACHES = ("total_inactive_file", "total_active_file")


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


def free_memory_bytes(root: str = "/") -> int:
    """Memory that new processes can have: the machine's, or what is left of a control group's limit.

    A batch system or a container bounds the group that this process is in, or one above it, by version 1 or 2
    of control groups; the tightest bound counts. `root`: where `proc` and the mounts lie.
    """
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _text(f"{root}/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            pages = int(line.split()[1]) * 1024
    return max(0, min([pages, *(left for group in _memory_groups(root) for left in _left(group))]))


def _memory_groups(root: str) -> list[Path]:
    """Directories of the groups that bound this process's memory: its own and all above, of both versions."""
    inside = {}
    for line in _text(f"{root}/proc/self/cgroup").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" or "memory" in controllers.split(","):
            inside["cgroup2" if number == "0" else "cgroup"] = path
    found = []
    for line in _text(f"{root}/proc/self/mountinfo").splitlines():
        mount, _, kind = line.partition(" - ")
        fields, (system, _, options) = mount.split(), [*kind.split(), "", "", ""][:3]
        if system not in inside or (system == "cgroup" and "memory" not in options.split(",")):
            continue
        # In a container the path may be the host's, of which the mount shows the lower end only.
        shown, place, path = fields[3], f"{root}/{fields[4].lstrip('/')}", inside[system]
        below = path.removeprefix(shown.rstrip("/")) if path.startswith(shown.rstrip("/")) else ""
        parts = [part for part in below.split("/") if part not in ("", "..")]
        found += [Path(place, *parts[:depth]) for depth in range(len(parts), -1, -1)]
    return found


def _left(group: Path) -> list[int]:
    """What is left of each limit of one control group; memory that only caches files is not in use."""
    stat = dict(line.split()[:2] for line in _text(str(group / "memory.stat")).splitlines() if " " in line)
    names = [name if name in stat else name.removeprefix("total_") for name in _CACHES]
    cached = sum(int(stat.get(name, "0")) for name in names)
    found = []
    for limit, usage in _LIMITS:
        most, used = _text(str(group / limit)), _text(str(group / usage))
        if most.isdecimal():
            found.append(int(most) - max(0, (int(used) if used.isdecimal() else 0) - cached))
    return found


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
