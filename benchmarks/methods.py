"""Nanoseconds per merged element of every method's arithmetic alone: one thread, no files.

    python -m benchmarks.methods [--form fused|plain] [--experts 8] [--block 65536] [--blocks 8]
    [--only ties] [--passes 30] [--stored bfloat16]

Two forms: compiled loops over the stored bytes, and plain torch over fp32 copies of them (whose making is not
timed).

Times are CPU time of this thread, each stage the best of some passes over a tensor of `blocks` blocks; rounds
are settled over the whole tensor, as in a merge. Inputs are drawn around a base with standard deviation 0.02
(deltas 0.001), rounded to the stored type, and given in fp32: experts stored in bfloat16 have many equal
magnitudes, so trimming needs its scan. Prints one line a case: every round's time, apply's, and the sum; with
all cases writes `benchmarks/results/methods-FORM.json`.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.measure import machine, save
from cluster.fold import fold
from pipeline.kernels.contract import Block
from pipeline.kernels.fused.block import FusedBlock, Stored
from pipeline.kernels.plain.block import PlainBlock
from pipeline.methods import load_method
from pipeline.methods.contract import Method, Partial, Scope, Totals

CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("linear", {}),
    ("task_arithmetic", {"lambda": 0.4}),
    ("ties", {"density": 1.0}),
    ("ties", {"density": 0.2}),
    ("ties", {"density": 0.2, "rescale": True}),
    ("dare_linear", {"density": 0.2, "rescale": "expectation"}),
    ("dare_linear", {"density": 0.2}),
    ("dare_ties", {"density": 0.2, "rescale": "expectation"}),
    ("dare_ties", {"density": 0.2}),
    ("dare_ties", {"density": 0.2, "rescale": "expectation", "trim_density": 0.2}),
)


def main() -> None:
    """Time the cases that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--block", type=int, default=1 << 16, help="elements of one block")
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--only", default="", help="methods whose name begins so")
    parser.add_argument("--stored", default="bfloat16", help="type the inputs were stored in")
    parser.add_argument("--passes", type=int, default=30)
    parser.add_argument("--form", choices=["fused", "plain"], default="fused")
    args = parser.parse_args()
    torch.set_num_threads(1)
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"torch {torch.__version__}, {capability}, {platform.machine()}, one thread; ns per merged element")
    print(
        f"{args.experts} experts stored as {args.stored}, {args.blocks} blocks of {args.block}, {args.form}"
    )
    blocks = make_blocks(args.experts, args.block, args.blocks, args.stored, args.form)
    cases = []
    for name, chosen in CASES:
        if name.startswith(args.only):
            times = best(partial(run, load_method(name), chosen, blocks), args.passes)
            stages = "  ".join(f"{stage} {ns:.1f}" for stage, ns in times.items())
            print(f"{name:<16}{chosen!s:<75}{sum(times.values()):7.1f}   {stages}", flush=True)
            cases.append({"method": name, "knobs": chosen, "ns": times})
    if not args.only:
        save(f"methods-{args.form}", {"machine": machine(), **vars(args), "cases": cases})


def make_blocks(experts: int, size: int, count: int, stored: str, form: str) -> list[Block]:
    """Blocks of one tensor in one of the two forms."""
    generator = torch.Generator().manual_seed(0)
    base_N = torch.randn(size * count, generator=generator).mul_(0.02)
    noise_EN = torch.randn(experts, size * count, generator=generator).mul_(0.001)
    models = [(noise_N + base_N).to(getattr(torch, stored)) for noise_N in noise_EN]
    models.insert(0, base_N.to(getattr(torch, stored)))
    names = tuple(f"model-{e}" for e in range(experts))
    blocks: list[Block] = []
    for start in range(0, size * count, size):
        parts = [model_N[start : start + size] for model_N in models]
        if form == "plain":
            rows = torch.stack([part_N.float() for part_N in parts])
            blocks.append(PlainBlock("w", start, names, rows[0], rows[1:]))
            continue
        base, *rest = (Stored(part_N.view(torch.uint8).numpy(), stored) for part_N in parts)
        out = np.empty(parts[0].nbytes, np.uint8)
        blocks.append(FusedBlock("w", start, size, names, "float32", base, tuple(rest), stored, out))
    return blocks


def run(method: Method, chosen: dict[str, Any], blocks: list[Block]) -> dict[str, float]:
    """Stage -> nanoseconds per element of one pass over all blocks."""
    experts = len(blocks[0].models)
    knobs = {knob.name: knob.default for knob in method.knobs} | {"weight": 1.0} | chosen
    knobs |= {k.name: (knobs[k.name],) * experts for k in method.knobs if k.scope == "model"}
    numel = sum(block.numel for block in blocks)
    totals: Totals = {}
    before: list[Partial] = [{} for _ in blocks]
    times = {}
    while (round_ := method.next_round(knobs, totals)) is not None:
        began = time.thread_time_ns()
        partials: list[Partial] = []
        folded: Partial = {}
        for block, earlier in zip(blocks, before, strict=True):
            part: Partial = {} if round_.scan else folded
            method.measure(round_, block, knobs, totals, earlier, part)
            partials.append(part)
        if round_.scan:
            folded = fold(*partials)
        times[round_.name] = (time.thread_time_ns() - began) / numel
        if round_.scan:
            for i, earlier in enumerate(before):
                earlier.update({k: sum((p[k] for p in partials[:i]), v * 0) for k, v in partials[i].items()})
        totals = method.settle(round_, folded, knobs, totals, Scope(numel))
    began = time.thread_time_ns()
    for block, earlier in zip(blocks, before, strict=True):
        method.apply(block, knobs, totals, earlier)
    times["apply"] = (time.thread_time_ns() - began) / numel
    return times


def best(once: Callable[[], dict[str, float]], passes: int) -> dict[str, float]:
    """The fastest time of every stage in some passes."""
    runs = [once() for _ in range(passes)]
    return {stage: min(times[stage] for times in runs) for stage in runs[0]}


if __name__ == "__main__":
    main()
