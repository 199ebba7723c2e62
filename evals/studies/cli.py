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
@click.argument("source", type=click.Path(path_type=Path), metavar="CONFIG|RECORDS")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where the report goes.")
def report(source: Path, out: Path | None) -> None:
    """Write the report of the study of CONFIG from the scores that are there, also while it runs.

    In the place of a study's file, RECORDS is a records.parquet that was published: everything is computed
    anew from it alone and goes to --out.
    """
    from evals.studies.reporting import report_records, report_study

    if source.suffix != ".parquet":
        click.echo(str(report_study(_load(source).out, out)))
    elif out is None:
        raise click.UsageError("say with --out DIR where the report of published records goes")
    else:
        click.echo(str(report_records(source, out)))


@study.command(epilog="Example:  mergescale study publish configs/studies/quick.yaml docs/studies/quick")
@_CONFIG
@click.argument("place", type=click.Path(path_type=Path), metavar="DIR")
def publish(config: Path, place: Path) -> None:
    """Write records.parquet, cells.json and study.yaml of the finished study of CONFIG into DIR.

    The records hold the score of every item and all else that the report is made of: who has them needs no
    model. They say no path of this machine.
    """
    from evals.studies.reporting import publish_study

    for path in publish_study(_load(config).out, place):
        click.echo(str(path))


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
