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
    from pipeline.errors import shown_lines
    from pipeline.machine import choose_device_at, local_share
    from pipeline.training.config import load_train_config
    from pipeline.training.run import describe_expert, plan_training, run_training

    uses_ray(where["executor"], where["address"])
    loaded = load_train_config(config)

    def say(line: str) -> None:
        click.echo(shown_lines(line), err=True)

    device = "cpu"
    if any(expert.settings.device == "auto" for expert in loaded.experts):
        device = choose_device_at("auto", where["address"], say, "device: cuda in CONFIG takes the cluster's")
    plan = plan_training(loaded, device)
    for name, record in plan.records.items():
        say(f"done before: {describe_expert(name, record)}")
    if dry_run:
        for name in plan.units:
            say(f"to train: {name}, {plan.steps[name]} steps")
        return
    if plan.units:
        on_gpu = any(unit.resources.gpus for unit in plan.units.values())
        share = local_share("cuda" if on_gpu else "cpu")
        share["here"] = min(share["here"], len(plan.units))
        with start_executor(**where, **share, kind="process") as executor:
            run_training(plan, executor, show_progress=progress)
    for expert in plan.config.experts:
        click.echo(str(plan.config.place(expert)))
