"""`mergescale study`: what a study would cost, run it, say how far it is, write its report.

Tables and paths go to stdout, everything for people to stderr. Heavy imports happen inside the commands.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cluster.options import device_option, executor_options, replica_option, start_executor, uses_ray

if TYPE_CHECKING:
    from evals.setting import Setting
    from evals.studies.config import StudyConfig

_CONFIG = click.argument("config", type=click.Path(path_type=Path))


@click.group(name="study", epilog="Example:  mergescale study run configs/studies/quick.yaml --workers 2")
def study() -> None:
    """A scaling study from one file: sizes x bases x methods x numbers of experts, scored and reported."""


@study.command(epilog="Example:  mergescale study plan configs/studies/paper.yaml --cluster nodes=8,gpus=8")
@_CONFIG
@click.option("--cluster", metavar="SPEC", help="Estimate for a cluster: nodes=8,gpus=8,disk=5GBps.")
@click.option("--json", "json_out", is_flag=True, help="Print JSON in place of the tables.")
@device_option()
def plan(config: Path, cluster: str | None, json_out: bool, device: str) -> None:
    """Say what the study of CONFIG would do: merges, scores, bytes, time, and what is there already."""
    from evals.studies.plan import as_grids, as_json, plan_study
    from evals.table import show

    loaded = _load(config)
    found = plan_study(loaded, _setting(device), cluster)
    if json_out:
        click.echo(json.dumps(as_json(found), indent=1))
    else:
        show(as_grids(found))
        for line in found.notes:
            _say(line)


@study.command(epilog="Example:  mergescale study run configs/studies/quick.yaml --workers 2")
@_CONFIG
@executor_options
@device_option()
@replica_option
@click.option("--progress/--no-progress", default=True, show_default=True, help="Live line on stderr.")
def run(config: Path, device: str, devices: int, progress: bool, **where: Any) -> None:
    """Run the study of CONFIG, or what is missing of it, and write its report.

    Merges are computed in the memory of the workers that score them. Every score is kept: the same command
    goes on after an interruption, and measures only what a change of CONFIG touches.
    """
    from cluster.on_demand import OnDemand
    from evals.studies.order import prepare
    from evals.studies.run import Running, run_study
    from pipeline.machine import local_share

    loaded = _load(config)
    name = "ray" if uses_ray(where["executor"], where["address"]) else "local"
    setting = _setting(device, devices, where["address"])
    share = local_share(setting.device)
    shared = OnDemand(
        lambda: start_executor(**where, **share, kind="process"), name, where["workers"] or share["here"]
    )
    try:
        missing = run_study(prepare(loaded, setting, _say), Running(lambda: shared, _say, progress))
    finally:
        shared.close()
    click.echo(str(_write(loaded.out)))
    if missing is not None:
        raise missing


@study.command(epilog="Example:  mergescale study status configs/studies/quick.yaml")
@_CONFIG
def status(config: Path) -> None:
    """Say how far the study of CONFIG is: scores by base and method, and what failed."""
    from evals.studies.status import status_of
    from evals.table import show

    grid, lines = status_of(_load(config).out)
    show([grid])
    for line in lines:
        _say(line)


@study.command(epilog="Example:  mergescale study report configs/studies/quick.yaml")
@_CONFIG
def report(config: Path) -> None:
    """Write the report of the study of CONFIG from the scores that are there, also while it runs."""
    click.echo(str(_write(_load(config).out)))


def _load(config: Path) -> StudyConfig:
    from evals.studies.config import load_study

    return load_study(config)


def _setting(device: str, devices: int = 1, address: str | None = None) -> Setting:
    from evals.setting import Setting
    from pipeline.machine import choose_device_at

    return Setting.on(choose_device_at(device, address, _say), batch_size="16", devices=devices)


def _write(out: Path) -> Path:
    from evals.studies.reporting import report_study

    return report_study(out)


def _say(line: str) -> None:
    """A line for people; names in it cannot move the cursor."""
    from pipeline.errors import shown_lines

    click.echo(shown_lines(line), err=True)
