"""`mergescale cluster ...`: look at machines. Imports Ray only when a command runs."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("cluster", epilog="Example:  mergescale cluster check --address auto --shared /mnt/models")
def cluster() -> None:
    """Look at the machines that units run on."""


@cluster.command(
    "check",
    epilog="Example:  mergescale cluster check --address 10.0.0.1:6379 --shared /mnt/models",
)
@click.option(
    "--address", metavar="A", help="A running Ray cluster, for example auto or 10.0.0.1:6379 [default: here]."
)
@click.option(
    "--shared",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A directory that every node must see and write.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of the table.")
def check_command(address: str | None, shared: Path | None, as_json: bool) -> None:
    """Ask every node for its versions, code, memory and view of shared storage, and compare.

    Exit code 0 when every node fits, 1 when one does not.
    """
    import json

    from cluster.check import check

    report = check(address, shared)
    click.echo(json.dumps(report.as_json(), indent=1) if as_json else report.as_text())
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    for problem in report.problems:
        click.echo(f"error: {problem.node}: {problem.what}\n  hint:     {problem.hint}", err=True)
    if not report.ok:
        click.get_current_context().exit(1)
