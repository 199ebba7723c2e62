"""Bases and experts of a family: made or found, many at once, kept when finished. Scores nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.contract import Executor
from evals.family.config import BaseConfig, FamilyConfig
from evals.family.index import label_in_run
from evals.family.rows import MULTITASK, FamilyData
from pipeline.training.config import TrainConfig, parse_train_config
from pipeline.training.run import TrainPlan, describe_expert, plan_training, run_trainings
from pipeline.training.scratch.run import describe_base, plan_bases, run_bases
from pipeline.training.watch import reason

Report = Callable[[str], None]


@dataclass(frozen=True)
class Work:
    """How the work is run: an executor on demand, where lines for people go, whether progress is shown, where
    models run ("cpu" or "cuda").
    """

    start: Callable[[], Executor]
    report: Report
    show_progress: bool = False
    device: str = "cpu"


def make_bases(config: FamilyConfig, work: Work) -> dict[str, Path]:
    """The directory of every base by name; those from scratch are trained, all at once.

    UnitError names all that failed; a run that was killed is gone on with.
    """
    scratch = {base.name: base.scratch for base in config.bases if base.scratch is not None}
    if scratch:
        instruct = any(settings.instruct for settings in scratch.values())
        plan = plan_bases(
            scratch,
            config.scratch.corpus or _packaged_corpus(work.report),
            config.scratch.vocab,
            config.out / "bases",
            (config.scratch.instruct or _packaged_rows(work.report)) if instruct else None,
            work.device,
        )
        for name, record in plan.records.items():
            work.report(f"done before: {describe_base(name, record)}")
        if plan.units:
            with work.start() as executor:
                run_bases(plan, executor, show_progress=work.show_progress)
    return {base.name: _place(base, config.out, work.report) for base in config.bases}


def _place(base: BaseConfig, out: Path, report: Report) -> Path:
    """Where a base lies, or is put."""
    if base.scratch is not None:
        return out / "bases" / base.name
    if base.model is not None:
        return base.model
    from evals.material.smollm2 import prepare_smollm2
    from pipeline.checkpoint.cache import cache_dir

    return prepare_smollm2(cache_dir(), report)


def _packaged_corpus(report: Report) -> Path:
    from evals.material import prepare_corpus

    return prepare_corpus(report=report)


def _packaged_rows(report: Report) -> Path:
    from evals.material import prepare_instruct

    return prepare_instruct(report=report)


def make_experts(
    config: FamilyConfig, bases: Mapping[str, Path], data: FamilyData, work: Work
) -> dict[str, str]:
    """Train every expert and multitask model of all bases, in all runs, at once.

    Returns label ("base/expert", "base/expert/run 1") -> why it failed. What was finished before is kept.
    InputError for what is wrong with data or settings, before any training.
    """
    runs = {label_in_run(base.name, run): (base, run) for base in config.bases for run in config.runs(base)}
    plans = {
        label: plan_training(_training(config, base, run, bases[base.name], data), work.device)
        for label, (base, run) in runs.items()
    }
    for name, plan in plans.items():
        for expert, record in plan.records.items():
            work.report(f"done before: {name}/{describe_expert(expert, record)}")
    left = {name: plan for name, plan in plans.items() if plan.units}
    if not left:
        return {}
    work.report(
        f"experts to train: {', '.join(f'{len(plan.units)} of {name}' for name, plan in left.items())}"
    )
    largest_first = dict(sorted(left.items(), key=lambda item: -_memory_bytes(item[1])))
    with work.start() as executor:
        trained = run_trainings(largest_first, executor, show_progress=work.show_progress)
    return {
        label_in_run(f"{base.name}/{expert}", run): reason(outcome)
        for label, (_, failed) in trained.items()
        for base, run in [runs[label]]
        for expert, outcome in failed.items()
    }


def _memory_bytes(plan: TrainPlan) -> int:
    """What the largest of its experts takes: larger ones also take longer."""
    return max(unit.resources.memory_bytes for unit in plan.units.values())


def _training(config: FamilyConfig, base: BaseConfig, run: int, place: Path, data: FamilyData) -> TrainConfig:
    """The training config of one run of a base. The multitask model comes first: it takes longest."""
    names = [MULTITASK, *(name for name in data.train if name != MULTITASK)]
    experts: dict[str, Any] = {
        name: {
            "train": str(data.train[name]),
            "settings": config.experts.of(base.size, multitask=name == MULTITASK, run=run),
        }
        for name in names
    }
    content = {"base": str(place), "out": str(config.experts_dir(base, run)), "experts": experts}
    return parse_train_config(content, f"{config.file}: experts of {label_in_run(base.name, run)}")
