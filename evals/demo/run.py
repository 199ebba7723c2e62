"""The whole path once: a real model, real experts, the four merges, held-in and held-out scores, one table.

Every stage keeps what it finished, so an interrupted demo goes on and a finished one answers at once. It only
calls what the commands call; nothing here trains, merges or scores by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster.on_demand import OnDemand
from evals.content import Digests
from evals.demo.prepare import DemoFiles, lay_out
from evals.fanout import Evaluation, evaluate
from evals.incomplete import incomplete
from evals.normalise import averages, normalise
from evals.request import Request, make_request
from evals.setting import Setting
from evals.table import grids, show
from pipeline import load_config, plan_merge, run_merge
from pipeline.checkpoint.nonfinite import in_lines
from pipeline.errors import InputError
from pipeline.training.config import load_train_config
from pipeline.training.run import plan_training, run_training

CONFIGS = Path("configs/demo")
SUITES = (Path("configs/suites/demo-held-in.yaml"), Path("configs/suites/demo-held-out.yaml"))
#: Where the demo's configs expect models and data, and where it leaves what it makes.
OUT = Path("demo")
METHODS = ("linear", "task_arithmetic", "ties", "dare_ties")


@dataclass
class Stages:
    """Announces the stages on stderr and keeps their times."""

    say: Callable[[str], None]
    began: float = field(default_factory=time.monotonic)
    number: int = 0

    def begin(self, title: str) -> None:
        """A heading with the minutes and seconds since the start."""
        self.number += 1
        elapsed_s = int(time.monotonic() - self.began)
        self.say(f"\n[{elapsed_s // 60}:{elapsed_s % 60:02d}] {self.number}/5 {title}")


def run_demo(executor: OnDemand, cache: Path, say: Callable[[str], None], show_progress: bool) -> None:
    """Run every stage that is not done yet and print the table on stdout.

    Raises InputError outside the repository's root, RunError at the end where scores are missing, and
    whatever the stages raise.
    """
    if not CONFIGS.is_dir():
        raise InputError(
            "the demo's configs are not here",
            where=str(Path.cwd()),
            expected=f"a directory {CONFIGS}",
            hint="run it from the root of the repository",
        )
    stages = Stages(say)
    stages.begin("model and data out of Python packages")
    files = lay_out(OUT, cache, say)
    stages.begin("experts: full fine-tuning, one a core")
    plan = plan_training(load_train_config(CONFIGS / "experts.yaml"))
    run_training(plan, executor, show_progress=show_progress and bool(plan.units))
    stages.begin("merges: " + ", ".join(METHODS))
    for method in METHODS:
        merged = plan_merge(load_config(CONFIGS / f"merge-{method}.yaml"))
        manifest = run_merge(merged, OUT / "merged" / method, executor, show_progress=show_progress)
        say(f"{OUT / 'merged' / method}: {manifest.timings['seconds']:.1f} s")
        for line in in_lines(manifest.nonfinite or ()):
            say(f"warning: {OUT / 'merged' / method}: {line}")
    stages.begin("scores, held in and held out, with lm-eval")
    experts = {expert.name: plan.config.place(expert) for expert in plan.config.experts}
    request, evaluation = _scored(files, experts, executor, show_progress)
    stages.begin("table")
    _show(request, evaluation)
    _where(say, time.monotonic() - stages.began)
    missing = incomplete(evaluation)
    if missing is not None:
        raise missing


def _scored(
    files: DemoFiles, experts: Mapping[str, Path], executor: OnDemand, show_progress: bool
) -> tuple[Request, Evaluation]:
    """Base, experts and merges on both suites."""
    scores = OUT / "scores"
    digests = Digests(scores / "digests.json")
    request = make_request(
        [OUT / "merged" / method for method in METHODS],
        SUITES,
        data_dir=files.data,
        base=files.base,
        experts=experts,
        baselines=True,
        digests=digests,
    )
    setting = Setting.on("cpu")
    evaluation = evaluate(
        request.pairs, lambda: executor, scores, setting, digests=digests, show_progress=show_progress
    )
    return request, evaluation


def _show(request: Request, evaluation: Evaluation) -> None:
    cells = normalise(evaluation.records, request.base, request.expert_labels, request.counted())
    show(grids(request.suites, evaluation, cells, averages(cells)))


def _where(say: Callable[[str], None], elapsed_s: float) -> None:
    """What lies where."""
    say(
        f"\nbase       {OUT / 'models' / 'base'}  (SmolLM2-135M-Instruct, dequantised from 4 bits)"
        f"\nexperts    {OUT / 'experts'}\nmerges     {OUT / 'merged'}  (each with mergescale_manifest.json)"
        f"\nscores     {OUT / 'scores'}  (every record, with per-item scores)"
        f"\ntime       {elapsed_s / 60:.1f} minutes; run it again: it answers from what is there"
    )
