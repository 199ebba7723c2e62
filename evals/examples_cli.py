"""`mergescale examples`: training rows out of suites, as `mergescale train` reads them.

Paths of the files go to stdout. Heavy imports happen inside the command.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from evals.suites import Suite


@click.command(
    name="examples",
    epilog="Example:  mergescale examples --suite configs/suites/t0-held-in.yaml --data t0 --out rows",
)
@click.option(
    "--suite", "suites", multiple=True, required=True, metavar="FILE", help="A suite of tasks; may repeat."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Where the rows go."
)
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Where the suites' data lies.")
@click.option("--skip-missing", is_flag=True, help="With --data: leave out tasks whose files are not there.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help="At most N training rows a task; validation rows are not cut.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Which rows, where there are more.")
def examples_command(
    suites: tuple[str, ...], out: Path, data: Path | None, skip_missing: bool, limit: int | None, seed: int
) -> None:
    """Write training and validation rows of every task: its prompts and answers as lm-eval scores them.

    DIR/CATEGORY/TASK.train.jsonl and TASK.validation.jsonl; what the suite scores is in neither. Validation
    rows are the task's own where its test split is scored, else a tenth of its training rows.
    """
    from evals.harness import write_examples
    from evals.suites import load_suite, locate_data
    from pipeline.errors import shown_lines

    def note(line: str) -> None:
        click.echo(shown_lines(line), err=True)

    loaded = [load_suite(suite) for suite in suites]
    _check_apart(loaded)
    for suite in (locate_data(one, data, skip_missing=skip_missing, report=note) for one in loaded):
        for left in suite.left_out:
            note(f"left out: {left.task}: {', '.join(left.files)} not there")
        for split in ("train", "validation"):
            for paths in write_examples(
                suite, out, split=split, limit=limit if split == "train" else None, seed=seed
            ).values():
                for path in paths:
                    click.echo(str(path))


def _check_apart(suites: Sequence[Suite]) -> None:
    """InputError where rows of two suites would go into one file."""
    from pipeline.errors import InputError

    owners: dict[str, Suite] = {}
    for suite in suites:
        for task in suite.tasks:
            file = f"{task.category}/{task.name}"
            other = owners.setdefault(file, suite)
            if other is not suite:
                raise InputError(
                    f"two suites have the task {file}: the rows of one would replace those of the other",
                    where=f"{other.file} and {suite.file}",
                    hint="write them with a command and an --out each",
                )
