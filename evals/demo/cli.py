"""`mergescale demo`: the whole path once, on a real model and real data. Heavy imports happen inside the
command.
"""

from __future__ import annotations

from typing import Any

import click

from cluster.options import executor_options, start_executor


@click.command(name="demo", epilog="Example:  mergescale demo --workers 2")
@executor_options
@click.option("--progress/--no-progress", default=True, show_default=True, help="Live line on stderr.")
def demo_command(progress: bool, executor: str | None, **where: Any) -> None:
    """Fine-tune four experts of a 135M model, merge them with four methods, score everything, print the
    table.

    Run it from the repository's root. Model and data come out of Python packages and are kept in
    ~/.cache/mergescale (or $MERGESCALE_CACHE); everything else goes to ./demo. Runs on an embedded Ray unless
    told otherwise.
    """
    from cluster.on_demand import OnDemand
    from evals.demo.run import run_demo
    from pipeline.checkpoint.cache import cache_dir
    from pipeline.machine import choose_device, local_share

    name = executor or "ray"
    share = local_share(choose_device("auto") if name == "local" else "cpu")  # Ray hands out GPUs itself
    shared = OnDemand(
        lambda: start_executor(name, **where, **share, kind="process"),
        name,
        where["workers"] or share["here"],
    )
    try:
        run_demo(shared, cache_dir(), lambda text: click.echo(text, err=True), progress)
    finally:
        shared.close()
