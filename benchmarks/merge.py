"""Our merge beside mergekit's: the same YAML, the same models, whole process against whole process, in one
run.

    python -m benchmarks.merge --peer .venv-peers/bin/python [--methods linear,ties] [--scale 1.0] [--models
    DIR]

Prints a table and writes `benchmarks/results/merge.json` with machine, versions and commands. Page cache warm
for both: the inputs are read once before. `peak` is the largest resident set of one process, mapped files
included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.work import make_work

RESULTS = Path(__file__).parent / "results"
CACHE = Path(os.environ.get("MERGESCALE_CACHE", Path.home() / ".cache" / "mergescale")) / "bench"
PARAMETERS: dict[str, dict[str, Any]] = {
    "linear": {"parameters": {}, "model": {"weight": 1.0}},
    "task_arithmetic": {"parameters": {"lambda": 0.4}, "model": {"weight": 1.0}},
    "ties": {"parameters": {}, "model": {"weight": 1.0, "density": 0.2}},
    "dare_linear": {"parameters": {"lambda": 0.4}, "model": {"weight": 1.0, "density": 0.2}},
    "dare_ties": {"parameters": {"lambda": 0.4}, "model": {"weight": 1.0, "density": 0.2}},
}


def write_config(path: Path, method: str, directories: list[Path]) -> Path:
    """One config that both programs read. fp32 arithmetic, bf16 out."""
    knobs = PARAMETERS[method]
    base = {} if method == "linear" else {"base_model": str(directories[0])}
    config = {
        "merge_method": method,
        **base,
        "models": [{"model": str(directory), "parameters": knobs["model"]} for directory in directories[1:]],
        "parameters": knobs["parameters"],
        "dtype": "float32",
        "out_dtype": "bfloat16",
    }
    path.write_text(json.dumps(config))
    return path


def timed(command: list[str], out: Path) -> dict[str, Any]:
    """Wall and CPU seconds and peak resident bytes of one whole process."""
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, code, usage = os.wait4(process.pid, 0)
    elapsed_s = time.perf_counter() - began
    if code:
        raise SystemExit(f"{' '.join(command)} failed:\n{complaint.decode()[-2000:]}")
    written = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    return {
        "wall_s": round(elapsed_s, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_bytes": usage.ru_maxrss * 1024,
        "written_bytes": written,
    }


def warm(directories: list[Path]) -> float:
    """Read every input once; returns seconds of the second, warm reading."""
    for _ in range(2):
        began = time.perf_counter()
        for directory in directories:
            for file in sorted(directory.glob("*.safetensors")):
                subprocess.run(["cat", str(file)], stdout=subprocess.DEVNULL, check=True)
    return round(time.perf_counter() - began, 2)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo").read_text()
    model = next(
        (line.split(":", 1)[1].strip() for line in info.splitlines() if "model name" in line), "unknown"
    )
    names = ("mergescale", "torch", "numpy", "safetensors", "ray")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
    }


def main() -> None:
    """Run the comparison and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", help="Python of an environment with mergekit; without it only we run")
    parser.add_argument("--methods", default="linear,task_arithmetic,ties,dare_ties")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the 11 layers")
    parser.add_argument("--models", type=Path, default=CACHE, help="where the input models lie or are made")
    parser.add_argument("--memory", default="4GiB")
    arguments = parser.parse_args()
    directories = make_work(arguments.models / f"work-{arguments.scale:g}", scale=arguments.scale)
    out = arguments.models / "out"
    ours = Path(sys.executable).parent / "mergescale"
    result: dict[str, Any] = {"machine": machine(), "read_s": warm(directories), "runs": []}
    for method in arguments.methods.split(","):
        config = write_config(arguments.models / f"{method}.json", method, directories)
        commands = {
            "plan": [str(ours), "plan", str(config)],
            "mergescale": [
                str(ours),
                "merge",
                str(config),
                str(out),
                "--memory",
                arguments.memory,
                "--no-progress",
            ],
        }
        if arguments.peer:
            peer = str(Path(arguments.peer).parent / "mergekit-yaml")
            commands["mergekit"] = [peer, str(config), str(out), "--no-copy-tokenizer"]
        for program, command in commands.items():
            shown = " ".join(Path(part).name if "/" in part else part for part in command)
            run = {"method": method, "program": program, **timed(command, out), "command": shown}
            result["runs"].append(run)
            print(
                f"{method:16} {program:11} {run['wall_s']:8.2f} s  {run['peak_bytes'] / 2**30:6.2f} GiB",
                flush=True,
            )
    shutil.rmtree(out, ignore_errors=True)
    RESULTS.mkdir(exist_ok=True)
    name = "merge.json" if arguments.scale == 1 else f"merge-{arguments.scale:g}.json"
    (RESULTS / name).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
