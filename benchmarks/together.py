"""Four merges in one pass over their inputs beside the same four one after another: whole processes, one run.

    python -m benchmarks.together [--repeat 2] [--memory 1GiB] [--models DIR] [--discard]

The reference work (base and eight experts of 615M parameters, bfloat16): linear, task arithmetic, TIES and
DARE-TIES as four documents of one file, and as four commands, in turn. Inputs lie in the page cache for both,
and so do four outputs at the end, so that both need as much memory that may be new to the machine. With
`--discard` no weights are written, so that only reading, arithmetic and start-up count. Prints both and
writes `benchmarks/results/together.json`, or `together-discard.json`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import CACHE, Run, machine, save, summary, timed
from benchmarks.merge import write_config
from benchmarks.work import make_work

METHODS = ("linear", "task_arithmetic", "ties", "dare_ties")


def command(config: Path, out: Path, memory: str, discard: bool) -> list[str]:
    """One `mergescale merge`."""
    place = f"discard:{out}" if discard else str(out)
    program = str(Path(sys.executable).parent / "mergescale")
    return [program, "merge", str(config), place, "--memory", memory, "--no-progress"]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Both ways, in turn."""
    directories = [str(path) for path in make_work(arguments.models / "work-1")]
    place, out = arguments.models, arguments.models / "out"
    configs = [write_config(place / f"{method}.json", method, directories) for method in METHODS]
    several = place / "several.yaml"
    named = [{"name": config.stem, **json.loads(config.read_text())} for config in configs]
    several.write_text(yaml.safe_dump_all(named))
    together: list[Run] = []
    apart: list[list[Run]] = []
    for _ in range(arguments.repeat):
        together.append(timed(command(several, out, arguments.memory, arguments.discard)))
        shutil.rmtree(out)
        apart.append([])
        out.mkdir()
        for config in configs:
            apart[-1].append(timed(command(config, out / config.stem, arguments.memory, arguments.discard)))
        shutil.rmtree(out)
    one_by_one = [
        Run(
            round(sum(run.wall_s for run in runs), 2),
            round(sum(run.cpu_s for run in runs), 2),
            max(run.peak_bytes for run in runs),
        )
        for runs in apart
    ]
    return {
        "machine": machine(),
        "memory": arguments.memory,
        "discard": arguments.discard,
        "methods": METHODS,
        "together": summary(together),
        "one_by_one": summary(one_by_one),
        "each": {method: summary([runs[k] for runs in apart]) for k, method in enumerate(METHODS)},
    }


def main() -> None:
    """Measure, say and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--memory", default="1GiB")
    parser.add_argument("--models", type=Path, default=CACHE, help="where the input models lie or are made")
    parser.add_argument("--discard", action="store_true", help="write no weights")
    arguments = parser.parse_args()
    found = measure(arguments)
    for name in ("together", "one_by_one"):
        run = found[name]
        print(
            f"{name:12} {run['least_s']:7.2f} s, {run['cpu_s']:7.2f} CPU-s, "
            f"{run['peak_bytes'] / 2**30:.2f} GiB"
        )
    save("together-discard" if arguments.discard else "together", found)


if __name__ == "__main__":
    main()
