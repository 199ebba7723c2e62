"""How benchmarks measure: a command as a whole process tree, its wall and CPU seconds and peak memory; the
machine.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results"
CACHE = Path(os.environ.get("MERGESCALE_CACHE", Path.home() / ".cache" / "mergescale")) / "bench"
_SAMPLE_S = 0.05


@dataclass(frozen=True)
class Run:
    """One command from start to end. `peak_bytes` is memory of its own of all its processes together."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def timed(command: list[str]) -> Run:
    """Run a command to its end. Raises SystemExit with what it said when it fails."""
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **offline}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    peak, ended = [0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, peak, ended))
    watcher.start()
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, code, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began
    ended.set()
    watcher.join()
    if code:
        raise SystemExit(f"{' '.join(command)} failed:\n{complaint.decode()[-2000:]}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Run(round(wall_s, 2), round(cpu_s, 2), peak[0])


def summary(runs: list[Run]) -> dict[str, Any]:
    """Least and middle wall time, the largest peak, and every run."""
    return {
        "least_s": min(run.wall_s for run in runs),
        "median_s": round(median(run.wall_s for run in runs), 2),
        "cpu_s": min(run.cpu_s for run in runs),
        "peak_bytes": max(run.peak_bytes for run in runs),
        "runs": [asdict(run) for run in runs],
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo").read_text()
    models = [line.split(":", 1)[1].strip() for line in info.splitlines() if "model name" in line]
    flags = set(info.split()) & {"avx2", "avx512f", "avx512_bf16"}
    return {
        "cpu": models[0] if models else "unknown",
        "vectors": sorted(flags),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("mergescale", "numba", "numpy", "torch", "ray")},
    }


def save(name: str, result: dict[str, Any]) -> None:
    """Put a benchmark's figures under `benchmarks/results`."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def rows_before(name: str, conditions: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Method -> its row in a benchmark's results so far, where they are of these conditions: this machine and
    these versions among them.
    """
    path = RESULTS / f"{name}.json"
    earlier = json.loads(path.read_text()) if path.exists() else {}
    same = all(earlier.get(key) == value for key, value in conditions.items())
    return {row["method"]: row for row in earlier["methods"]} if same else {}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _watch(root: int, peak: list[int], ended: threading.Event) -> None:
    """Note the largest sum of the process tree's resident memory, shared files left out."""
    while not ended.wait(_SAMPLE_S):
        peak[0] = max(peak[0], sum(_anonymous_bytes(pid) for pid in _tree(root)))


def _tree(root: int) -> list[int]:
    """The process and all below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:  # ended meanwhile
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found, todo = [], [root]
    while todo:
        found.append(todo.pop())
        todo.extend(parents.get(found[-1], ()))
    return found


def _anonymous_bytes(pid: int) -> int:
    """Resident memory of one process that no file on the disk backs."""
    try:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return 1024 * sum(int(fields.get(key, "0 kB").split()[0]) for key in ("RssAnon", "RssShmem"))
