"""How cost grows, what Ray adds, and a 64B merge: synthetic models, weights digested and dropped.

    python -m benchmarks.scale growth [--repeat 3]      experts 2..16, parameters x1..x8, workers 1 and 2
    python -m benchmarks.scale large [--slice 50] [--methods ties]      eight 64B experts, or a slice of them
    python -m benchmarks.scale ray [--repeat 3]         local threads beside Ray workers, one and two of them

Inputs are made from a pool in memory as they are read (`pipeline/checkpoint/synthetic.py`): a copy, as the
page cache is. Writes `growth.json`, `large.json` and `ray.json` under `benchmarks/results`, and the picture
`docs/growth.svg`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.measure import CACHE, Run, machine, rows_before, save, summary, timed
from benchmarks.merge import write_config
from cluster.contract import Unit
from cluster.local import LocalExecutor
from cluster.on_ray import RayExecutor
from pipeline import load_config, plan_merge
from pipeline.checkpoint.synthetic import SHAPES
from pipeline.plan.build import discarding
from pipeline.plan.estimate import limits_for

UNITS = 500
LARGE_MEMORY = "2GiB"
METHODS = ("linear", "task_arithmetic", "ties", "dare_ties")
SMALL = {"hidden": 1024, "mlp": 2816, "layers": 8, "kv": 256, "vocab": 1000}
LARGE, REFERENCE = asdict(SHAPES["64b"]), asdict(SHAPES["600m"])


def models(shape: dict[str, int], experts: int) -> list[str]:
    """Base and experts of a shape, by name."""
    name = "synthetic:" + ",".join(f"{key}={size}" for key, size in shape.items())
    return [f"{name}/base", *(f"{name}/expert{number}" for number in range(experts))]


def tried(
    method: str, names: list[str], workers: int, memory: str, executor: str = "local"
) -> tuple[Run, dict[str, Any]]:
    """One merge whose weights are dropped, and its record."""
    config = write_config(CACHE / "scale.json", method, names)
    out = CACHE / "trial"
    command = [
        str(Path(sys.executable).parent / "mergescale"),
        "merge",
        str(config),
        f"discard:{out}",
        "--fresh",
        "--executor",
        executor,
    ]
    run = timed([*command, "--workers", str(workers), "--memory", memory, "--no-progress"])
    record: dict[str, Any] = json.loads((out / "mergescale_discarded.json").read_text())
    shutil.rmtree(out)
    return run, record


def growth(repeat: int) -> dict[str, Any]:
    """Time and memory of each method as one thing grows and the others stay."""
    sizes = {by: {**SMALL, "layers": by * SMALL["layers"]} for by in (1, 2, 4, 8)}
    settings = [("experts", count, sizes[4], count, 2) for count in (2, 4, 8, 16)]
    settings += [("parameters", by, shape, 8, 2) for by, shape in sizes.items()]
    settings += [("workers", count, sizes[8], 8, count) for count in (1, 2)]
    points = []
    for axis, value, shape, experts, workers in settings:
        for method in METHODS:
            runs = [tried(method, models(shape, experts), workers, "1GiB")[0] for _ in range(repeat)]
            points.append({"axis": axis, "value": value, "method": method, **summary(runs)})
            least, peak = points[-1]["least_s"], points[-1]["peak_bytes"]
            print(f"{axis:10} {value:3} {method:16} {least:7.2f} s  {peak / 2**20:6.0f} MiB", flush=True)
    return {"machine": machine(), "memory": "1GiB", "small": SMALL, "points": points}


def large(name: str, slice_: int, methods: list[str]) -> dict[str, Any]:
    """TIES and task arithmetic of eight experts of 64B parameters, or of one `slice_`-th of their layers and
    vocabulary (at 50 that is one layer of 82: an eightieth of the parameters).
    """
    layers, vocab = max(1, LARGE["layers"] // slice_), LARGE["vocab"] // slice_
    shape = {**LARGE, "layers": layers, "vocab": vocab}
    conditions = {"machine": machine(), "shape": shape, "experts": 8, "memory": LARGE_MEMORY, "workers": 2}
    rows = rows_before(name, conditions)
    for method in methods:
        names = models(shape, 8)
        planned = planned_s(method, names)
        run, record = tried(method, names, 2, LARGE_MEMORY)
        units = record["timings"]["units"]
        read = sum(unit["read_bytes"] for unit in units)
        write = sum(unit["write_bytes"] for unit in units if "write_bytes" in unit)
        point = {
            "method": method,
            "planned_s": planned,
            "wall_s": run.wall_s,
            "cpu_s": run.cpu_s,
            "peak_bytes": run.peak_bytes,
        }
        point |= {"read_bytes": read, "merged_bytes": write, "digest": record["weights_digest"]}
        rows[method] = point
        print(
            f"{method:16} {write / 2e9:.2f}B parameters, {read / 1e12:.3f} TB read, {run.wall_s:.1f} s, "
            f"{read / run.wall_s / 1e9:.2f} GB/s, {run.peak_bytes / 2**30:.2f} GiB, plan {planned:.0f} s",
            flush=True,
        )
    return {**conditions, "methods": list(rows.values())}


def planned_s(method: str, names: list[str]) -> float:
    """What the plan of such a trial says that it takes."""
    config = load_config(write_config(CACHE / "scale.json", method, names))
    limits = limits_for(LARGE_MEMORY, 2, processes=False, cluster=None)
    return round(discarding(plan_merge(config, limits=limits)).cost.seconds, 1)


def on_ray(repeat: int) -> dict[str, Any]:
    """The reference work's shape on local threads and on Ray, one worker and two; what Ray adds a unit.

    `merge_s` is without the start of Ray but with that of its workers. Their CPU time is nobody's child's.
    """
    points: list[dict[str, Any]] = []
    for method in ("linear", "ties"):
        for workers in (1, 2):
            for executor in ("local", "ray"):
                names = models(REFERENCE, 8)
                found = [tried(method, names, workers, "2GiB", executor) for _ in range(repeat)]
                merge_s: float = min(record["timings"]["seconds"] for _, record in found)
                units = len(found[0][1]["timings"]["units"])
                point: dict[str, Any] = {"method": method, "workers": workers, "executor": executor}
                point |= {"units": units, "merge_s": merge_s, **summary([run for run, _ in found])}
                if executor == "ray":
                    del point["cpu_s"]
                points.append(point)
                print(method, workers, executor, units, "units", merge_s, point["least_s"], flush=True)
    added_ms = unit_ms(RayExecutor(workers=2), UNITS) - unit_ms(LocalExecutor(2), UNITS)
    print(f"a unit of nothing takes {added_ms:.2f} ms longer on Ray")
    result = {"machine": machine(), "shape": REFERENCE, "experts": 8, "memory": "2GiB", "points": points}
    return {**result, "added_ms_a_unit": round(added_ms, 3), "units_of_nothing": UNITS}


def nothing(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A unit's work that is none."""
    return {}


def unit_ms(executor: LocalExecutor | RayExecutor, count: int) -> float:
    """Milliseconds a unit of nothing takes among many, workers having run some before."""
    with executor:
        for round_ in ("warm", "timed"):
            began = time.perf_counter()
            units = [Unit(f"{round_}-{number}", nothing, {}) for number in range(count)]
            assert all(outcome.fault is None for outcome in executor.run(units))
        return 1e3 * (time.perf_counter() - began) / count


def draw(result: dict[str, Any], path: Path) -> None:
    """Seconds and memory against each axis, a panel each; methods by marker as well as colour."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from pipeline.colours import OKABE_ITO

    figure, panels = pyplot.subplots(2, 3, figsize=(10, 5.5), sharex="col", layout="constrained")
    labels = {"experts": "experts", "parameters": "parameters, times the smallest", "workers": "workers"}
    for column, (axis, label) in enumerate(labels.items()):
        for number, method in enumerate(METHODS):
            points = [p for p in result["points"] if p["axis"] == axis and p["method"] == method]
            style = {"marker": "osD^"[number], "color": OKABE_ITO[number], "label": method}
            values = [point["value"] for point in points]
            panels[0, column].plot(values, [point["least_s"] for point in points], **style)
            panels[1, column].plot(values, [point["peak_bytes"] / 2**20 for point in points], **style)
        panels[1, column].set(xlabel=label, xticks=values)
        for panel in panels[:, column]:
            panel.set_ylim(bottom=0)
            panel.grid(alpha=0.3)
    panels[0, 0].set_ylabel("seconds")
    panels[1, 0].set_ylabel("peak MiB")
    entries = panels[0, 0].get_legend_handles_labels()
    figure.legend(*entries, loc="outside upper center", ncols=len(METHODS), frameon=False)
    figure.savefig(path)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["growth", "large", "ray"])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--slice", type=int, default=1, dest="slice_")
    parser.add_argument("--methods", default="task_arithmetic,ties", help="of a large merge; other rows stay")
    arguments = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    if arguments.what == "growth":
        result = growth(arguments.repeat)
        save("growth", result)
        draw(result, Path("docs/growth.svg"))
    elif arguments.what == "ray":
        save("ray", on_ray(arguments.repeat))
    else:
        name = "large" if arguments.slice_ == 1 else f"large-{arguments.slice_}"
        save(name, large(name, arguments.slice_, arguments.methods.split(",")))


if __name__ == "__main__":
    main()
