"""`mergescale train`: a training config in, experts out. Heavy imports happen inside the command.

The directories of the experts go to stdout, everything for people to stderr.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cluster.options import executor_options, start_executor, uses_ray


@click.command(
    name="train", epilog="Example:  mergescale train configs/demo/experts.yaml --executor local --workers 2"
)
@click.argument("config", type=click.Path(path_type=Path))
@executor_options
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be trained.")
@click.option("--progress/--no-progress", default=True, show_default=True, help="Live line with steps.")
def train_command(config: Path, dry_run: bool, progress: bool, **where: Any) -> None:
    """Fine-tune the experts that CONFIG names from their base model, each on its own data.

    Every worker trains one expert at a time, on one core or one GPU. A finished expert is kept and
    not trained again while base, data and settings are the same; an interrupted one goes on from its last
    checkpoint.
    """
    from pipeline.machine import cores
    from pipeline.training.config import load_train_config
    from pipeline.training.run import describe_expert, plan_training, run_training

    uses_ray(where["executor"], where["address"])
    plan = plan_training(load_train_config(config))
    for name, record in plan.records.items():
        click.echo(f"done before: {describe_expert(name, record)}", err=True)
    if dry_run:
        for name in plan.units:
            click.echo(f"to train: {name}, {plan.steps[name]} steps", err=True)
        return
    if plan.units:
        on_gpu = any(unit.resources.gpus for unit in plan.units.values())
        here = 1 if on_gpu else min(cores(), len(plan.units))
        with start_executor(**where, here=here, kind="process") as executor:
            run_training(plan, executor, show_progress=progress)
    for expert in plan.config.experts:
        click.echo(str(plan.config.place(expert)))
