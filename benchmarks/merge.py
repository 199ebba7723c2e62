"""Our merge beside mergekit's and beside plain reading and writing: whole processes, one run.

    python -m benchmarks.merge --peer .venv-peers/bin/python [--methods linear,ties] [--scale 1.0]
        [--repeat 3] [--memory 1GiB] [--models DIR]

For each method, in turn and repeated: `cat` of the inputs, `dd` of as many bytes as the output has (flushed),
our merge, and mergekit's (once: it takes minutes). Quoted are least and middle times; ratios are of the least
ones. The page cache is warm for all. Prints a table and writes `benchmarks/results/merge.json` with machine,
versions and commands; rows of other methods stay there if they are of the same machine and versions, and
without --peer so does mergekit's last time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.measure import CACHE, Run, machine, rows_before, save, summary, timed
from benchmarks.work import make_work

PARAMETERS: dict[str, dict[str, Any]] = {
    "linear": {"parameters": {}, "model": {"weight": 1.0}},
    "task_arithmetic": {"parameters": {"lambda": 0.4}, "model": {"weight": 1.0}},
    "ties": {"parameters": {}, "model": {"weight": 1.0, "density": 0.2}},
    "ties-model": {"parameters": {"trim_scope": "model"}, "model": {"weight": 1.0, "density": 0.2}},
    "dare_linear": {"parameters": {"lambda": 0.4}, "model": {"weight": 1.0, "density": 0.2}},
    "dare_ties": {"parameters": {"lambda": 0.4}, "model": {"weight": 1.0, "density": 0.2}},
}


def write_config(path: Path, method: str, models: list[str]) -> Path:
    """One config that both programs read: base first, then the experts. fp32 arithmetic, bf16 out."""
    knobs = PARAMETERS[method]
    config = {
        "merge_method": method.removesuffix("-model"),
        **({} if method == "linear" else {"base_model": models[0]}),
        "models": [{"model": model, "parameters": knobs["model"]} for model in models[1:]],
        "parameters": knobs["parameters"],
        "dtype": "float32",
        "out_dtype": "bfloat16",
    }
    path.write_text(json.dumps(config))
    return path


def plain(directories: list[Path], out: Path, write_bytes: int) -> float:
    """Seconds of reading every input with `cat` and writing as many bytes as the output has with `dd`."""
    files = [str(file) for directory in directories for file in sorted(directory.glob("*.safetensors"))]
    read = timed(["cat", *files])
    count = -(-write_bytes // (4 << 20))
    write = timed(["dd", "if=/dev/zero", f"of={out}", "bs=4M", f"count={count}", "conv=fsync", "status=none"])
    out.unlink()
    return read.wall_s + write.wall_s


def compare(method: str, arguments: argparse.Namespace, directories: list[Path]) -> dict[str, Any]:
    """All that is measured of one method."""
    place = arguments.models
    config = write_config(place / f"{method}.json", method, [str(directory) for directory in directories])
    ours = [str(Path(sys.executable).parent / "mergescale"), "merge", str(config), str(place / "out")]
    ours += ["--memory", arguments.memory, "--no-progress"]
    planned = json.loads(
        subprocess.run(
            [ours[0], "plan", str(config), "--memory", arguments.memory, "--json"],
            capture_output=True,
            check=True,
        ).stdout
    )
    write_bytes = sum(file["size_bytes"] for file in planned["files"])
    runs: list[Run] = []
    baseline: list[float] = []
    for _ in range(arguments.repeat):
        baseline.append(plain(directories, place / "plain", write_bytes))
        shutil.rmtree(place / "out", ignore_errors=True)
        runs.append(timed(ours))
    found: dict[str, Any] = {
        "method": method,
        "measured_on": date.today().isoformat(),
        "plain_s": round(min(baseline), 2),
        "planned_s": planned["estimated_s"],
        "ours": summary(runs),
        "command": " ".join(Path(part).name if "/" in part else part for part in ours),
    }
    shutil.rmtree(place / "out", ignore_errors=True)
    if arguments.peer and not method.endswith("-model"):
        peer = [str(Path(arguments.peer).parent / "mergekit-yaml"), str(config), str(place / "out")]
        found["mergekit"] = summary([timed([*peer, "--no-copy-tokenizer"])])
        shutil.rmtree(place / "out", ignore_errors=True)
    return found


def show(found: dict[str, Any]) -> None:
    """One line of the table."""
    ours, peer = found["ours"], found.get("mergekit")
    beside = f"{peer['least_s'] / ours['least_s']:6.1f} x mergekit ({peer['least_s']:.1f} s)" if peer else ""
    print(
        f"{found['method']:16} {ours['least_s']:7.2f} s (median {ours['median_s']:.2f}, plan said "
        f"{found['planned_s']:.1f}), {ours['peak_bytes'] / 2**30:.2f} GiB, "
        f"{ours['least_s'] / found['plain_s']:.2f} x plain ({found['plain_s']:.2f} s) {beside}",
        flush=True,
    )


def main() -> None:
    """Run the comparison and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", help="Python of an environment with mergekit; without it only we run")
    parser.add_argument("--methods", default=",".join(PARAMETERS))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the 11 layers")
    parser.add_argument("--models", type=Path, default=CACHE, help="where the input models lie or are made")
    parser.add_argument("--memory", default="1GiB")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    directories = make_work(arguments.models / f"work-{arguments.scale:g}", scale=arguments.scale)
    name = "merge" if arguments.scale == 1 else f"merge-{arguments.scale:g}"
    conditions = {"machine": machine(), "memory": arguments.memory}
    rows = rows_before(name, conditions)
    for method in arguments.methods.split(","):
        earlier = rows.get(method, {})
        rows[method] = compare(method, arguments, directories)
        if "mergekit" in earlier:
            rows[method].setdefault("mergekit", earlier["mergekit"])
        show(rows[method])
        save(name, {**conditions, "methods": [rows[each] for each in PARAMETERS if each in rows]})


if __name__ == "__main__":
    main()
