"""`mergescale family`: build a family of models, say how far it is, show its scores.

Tables and paths go to stdout, everything for people to stderr. Heavy imports happen inside
the commands.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import click

from cluster.options import device_option, executor_options, start_executor, uses_ray

_CONFIG = click.argument("config", type=click.Path(path_type=Path))


@click.group(
    name="family", epilog="Example:  mergescale family build configs/family/miniature.yaml --workers 2"
)
def family() -> None:
    """Bases, experts and multitask models for a study, built and scored from one file."""


@family.command(
    epilog="Example:  mergescale family build configs/family/t0-135m.yaml --data t0 --skip-missing"
)
@_CONFIG
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Where the suites' data lies.")
@click.option("--skip-missing", is_flag=True, help="Leave out tasks whose data is not in DIR.")
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    metavar="N",
    help="Train every expert N times with other seeds, so that luck is measured. [default: the file's, or 1]",
)
@click.option("--size", "sizes", multiple=True, metavar="SIZE", help="Bases of this size only; may repeat.")
@executor_options
@device_option("Where models are trained and run, unless an expert's settings name it.")
@click.option("--progress/--no-progress", default=True, show_default=True, help="Live lines on stderr.")
def build(
    config: Path,
    data: Path | None,
    skip_missing: bool,
    repeat: int | None,
    sizes: tuple[str, ...],
    device: str,
    progress: bool,
    **where: Any,
) -> None:
    """Build the family of CONFIG, or what is missing of it; the same command goes on after an interruption.

    Rows of the suite's tasks, bases, an expert for each category and a multitask model, scores. Experts that
    are not better than their base and constant answers are named, and the exit code is 1.
    """
    from evals.family.build import build_family
    from evals.family.config import load_family
    from evals.family.members import Work
    from pipeline.errors import shown_lines
    from pipeline.machine import choose_device_at, local_share

    uses_ray(where["executor"], where["address"])
    loaded = load_family(config)
    loaded = loaded.of_sizes(sizes) if sizes else loaded
    loaded = loaded.repeated(repeat) if repeat is not None else loaded

    def say(line: str) -> None:
        click.echo(shown_lines(line), err=True)

    chosen = choose_device_at(device, where["address"], say)
    start = partial(start_executor, **where, **local_share(chosen), kind="process")
    work = Work(start, say, progress, chosen)
    build_family(loaded, work, data_dir=data, skip_missing=skip_missing)
    click.echo(str(loaded.out / "family.json"))


@family.command(epilog="Example:  mergescale family status configs/family/miniature.yaml")
@_CONFIG
def status(config: Path) -> None:
    """Say what of the family of CONFIG is there: bases, experts, scores."""
    from evals.family.config import load_family
    from evals.family.status import describe
    from pipeline.errors import shown_lines

    for line in describe(load_family(config)):
        click.echo(shown_lines(line))


@family.command(epilog="Example:  mergescale family table configs/family/miniature.yaml")
@_CONFIG
@click.option("--json", "json_out", is_flag=True, help="Print the index in place of the tables.")
def table(config: Path, json_out: bool) -> None:
    """Show the scores of base, experts and multitask model of every base of CONFIG, and the gate."""
    from evals.family.config import load_family
    from evals.family.index import GATE, grids, luck, read_index, verdicts
    from evals.table import show
    from pipeline.errors import shown_lines

    index = read_index(load_family(config).out)
    if json_out:
        click.echo(json.dumps(index, indent=1))
        return
    for grid, sentences in zip(grids(index), verdicts(index), strict=True):
        show([grid])
        for line in ("", GATE, *sentences, ""):
            click.echo(shown_lines(line))
    for grid in luck(index):
        show([grid])
