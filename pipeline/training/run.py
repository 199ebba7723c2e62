"""Many experts at once: a training config and an executor in, one record per expert out.

Everything the user can get wrong is checked before the first expert starts. It never picks an executor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.contract import Executor, Outcome, Resources, Unit
from pipeline.checkpoint.companions import plan_companions
from pipeline.checkpoint.index import read_directory
from pipeline.machine import choose_device
from pipeline.output import check_apart
from pipeline.training.config import ExpertConfig, TrainConfig
from pipeline.training.curves import CURVE, draw_losses
from pipeline.training.examples import read_examples, read_validation
from pipeline.training.expert import train_unit
from pipeline.training.identity import expert_identity, finished, model_digest, recipe_for
from pipeline.training.loading import check_trainable, load_tokenizer
from pipeline.training.memory import memory_bytes
from pipeline.training.steplog import LOG, last_step, progress_file, read_log
from pipeline.training.watch import failure, placed, run_watched
from pipeline.training.zero import named_config, zero_config
from pipeline.values import ModelRef


@dataclass(frozen=True)
class TrainPlan:
    """What is left to do: a unit and its number of steps for every expert that is not finished.

    units: by expert name.  steps: by expert name, of all experts.  records: of the experts that are finished.
    """

    config: TrainConfig
    units: Mapping[str, Unit]
    steps: Mapping[str, int]
    records: Mapping[str, dict[str, Any]]


def plan_training(config: TrainConfig, device: str | None = None) -> TrainPlan:
    """Check the base, the data and the output directory of every expert; read nothing into a model.

    device: where experts whose settings say "auto" are trained; None: on this machine's GPU if it has one.
    Raises InputError or one of its kinds for whatever is wrong. Hashes the base's weights once.
    """
    device = device or choose_device("auto")
    base = read_directory(ModelRef(str(config.base)), config.base.resolve())
    plan_companions(base, out_dtype=None)  # each expert gets them: one that cannot be read is refused now
    for expert in config.experts:
        check_apart(config.place(expert), [config.base])
    check_trainable(config.base, str(config.base))
    place: dict[str, str] = {}
    needed: dict[str, int] = {}
    units: dict[str, Unit] = {}
    steps: dict[str, int] = {}
    records: dict[str, dict[str, Any]] = {}
    for expert in config.experts:
        rows = [row for path in expert.train for row in read_examples(path, expert.settings.limit)]
        steps[expert.name] = expert.settings.steps(len(rows))
        place[expert.name] = device if expert.settings.device == "auto" else expert.settings.device
        needed[expert.name] = memory_bytes(base, rows, expert.settings, place[expert.name])
        for path in expert.validation:
            read_validation(path)
        zero_config(expert.settings.deepspeed)
    digest = model_digest(config.base)
    recipe = recipe_for(load_tokenizer(config.base, str(config.base)))
    for expert in config.experts:
        out = config.place(expert)
        identity = expert_identity(
            config.base, digest, expert.train, expert.settings, expert.validation, recipe
        )
        done = finished(out, identity)
        if done is None:
            units[expert.name] = _unit(config, expert, place[expert.name], needed[expert.name])
        else:
            records[expert.name] = done
    return TrainPlan(config, units, steps, records)


def _unit(config: TrainConfig, expert: ExpertConfig, device: str, needed_bytes: int) -> Unit:
    """The unit of work of one expert. The GPU of a worker elsewhere is not looked for here."""
    settings = expert.settings
    payload = {
        "base": str(config.base.resolve()),
        "train": [str(path.resolve()) for path in expert.train],
        "validation": [str(path.resolve()) for path in expert.validation],
        "out": str(config.place(expert).resolve()),
        "settings": settings.as_dict() | {"deepspeed": named_config(settings.deepspeed)},
        "device": device,
    }
    needs = Resources(cpus=1.0, gpus=float(device == "cuda"), memory_bytes=needed_bytes)
    return Unit(f"train/{expert.name}", train_unit, payload, needs)


def run_training(
    plan: TrainPlan, executor: Executor, *, show_progress: bool = True
) -> dict[str, dict[str, Any]]:
    """Train what is left; return the record of every expert, in the config's order.

    All experts are tried, and the loss curves of the finished ones drawn into one picture. Raises UnitError
    that names every one that failed; what was finished is kept.
    """
    ((records, failed),) = run_trainings({"": plan}, executor, show_progress=show_progress).values()
    if failed:
        raise failure(failed, "experts could not be trained")
    return {expert.name: records[expert.name] for expert in plan.config.experts}


def run_trainings(
    plans: Mapping[str, TrainPlan], executor: Executor, *, show_progress: bool = True
) -> dict[str, tuple[dict[str, dict[str, Any]], dict[str, Outcome]]]:
    """Train what is left of several plans, all experts at once, those of the first plan first.

    plans: by a name that is put before those of its experts ("": nothing is). Returns for each plan its
    records and its failures, by expert name. The curves of a plan's finished experts are drawn into one
    picture.
    """
    places = {
        f"{group}/{name}" if group else name: (group, name)
        for group, plan in plans.items()
        for name in plan.steps
    }
    units = {
        label: placed(replace(plans[group].units[name], id=f"train/{label}"), executor)
        for label, (group, name) in places.items()
        if name in plans[group].units
    }
    for unit in units.values():  # an interrupted run's steps would count as this one's
        progress_file(Path(unit.payload["out"])).unlink(missing_ok=True)
    trained, failed = run_watched(
        units,
        {label: plans[group].steps[name] for label, (group, name) in places.items()},
        executor,
        last_step=lambda label: _newest(units[label]),
        describe=describe_expert,
        label="training",
        show_progress=show_progress,
    )
    found = {}
    for group, plan in plans.items():
        records = {
            **plan.records,
            **{places[key][1]: trained[key] for key in trained if places[key][0] == group},
        }
        _draw_together(plan.config, records)
        found[group] = (records, {places[key][1]: failed[key] for key in failed if places[key][0] == group})
    return found


def _draw_together(config: TrainConfig, finished: Collection[str]) -> None:
    """One picture of the loss curves of the finished experts, beside them."""
    places = {expert.name: config.place(expert) for expert in config.experts if expert.name in finished}
    if places:
        draw_losses({name: read_log(place / LOG) for name, place in places.items()}, config.out / CURVE)


def describe_expert(name: str, record: Mapping[str, Any]) -> str:
    """One line about a finished expert."""
    line = (
        f"{name}: loss {record['first_loss']:.2f} -> {record['last_loss']:.2f} in {record['train_s']:.0f} s"
    )
    if "validation_score" in record:
        line += f", validation score {record['validation_score']:.3f} after {record['chosen_step']} steps"
    return line


def _newest(unit: Unit) -> int:
    """The newest step of the expert that a unit trains, 0 before its first."""
    step = last_step(Path(unit.payload["out"]))
    return step.step if step is not None else 0
