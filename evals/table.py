"""Results for people and for programs: models x tasks with standard errors, normalised columns, JSON.

It formats what it is given and computes nothing. A cell that was not measured shows a dash, one that failed
says so; colour never carries meaning.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evals.fanout import Evaluation
from evals.normalise import Average, Relative
from evals.suites import Suite
from pipeline.errors import shown

MISSING, FAILED, CHANCE = "–", "failed", "(chance)"
_AGAINST = {"held-in": "expert", "held-out": "base"}


@dataclass(frozen=True)
class Grid:
    """A table of text: a title, column heads (the first names the rows) and rows as long as the heads."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def as_number(value: float | None, stderr: float | None = None) -> str:
    """A score with its standard error, "0.535 ±0.035"; a dash when it is missing."""
    if value is None:
        return MISSING
    digits = 3 if abs(value) < 10 else 1
    return f"{value:.{digits}f}" + (f" ±{stderr:.{digits}f}" if stderr is not None else "")


def grids(
    suites: Sequence[Suite], evaluation: Evaluation, cells: Sequence[Relative], means: Sequence[Average]
) -> list[Grid]:
    """One grid of raw scores a suite, then one of the normalised averages where there is a reference."""
    failed = {(f.label, f.suite, f.task) for f in evaluation.failures}
    scores = {(r.label, r.suite, r.task): as_number(r.value, r.stderr) for r in evaluation.records}
    guessers = {one.label for one in evaluation.records if one.is_baseline}
    found = []
    for suite in suites:
        rows = [(CHANCE, *(as_number(task.chance) for task in suite.tasks))]
        for label in evaluation.labels:
            places = [(label, suite.name, task.name) for task in suite.tasks]
            texts = [FAILED if place in failed else scores.get(place, MISSING) for place in places]
            rows += _row(label, texts)
        heads = ("model", *(f"{task.category}/{task.name}" for task in suite.tasks))
        found.append(_fitting(Grid(_title(suite), heads, tuple(rows))))
    models = [label for label in evaluation.labels if label not in guessers]
    found += [_relative(suite, models, cells) for suite in suites if _compared(suite, cells)]
    if any(cell.reference is not None for cell in cells):
        found.append(_normalised(models, means))
    return found


def _compared(suite: Suite, cells: Sequence[Relative]) -> bool:
    """Whether anything of the suite has a reference."""
    return any(cell.suite == suite.name and cell.reference is not None for cell in cells)


def _relative(suite: Suite, labels: Sequence[str], cells: Sequence[Relative]) -> Grid:
    """Every score of a suite over its reference's."""
    ratios = {(one.label, one.task): one for one in cells if one.suite == suite.name}
    rows = []
    for label in labels:
        there = [ratios.get((label, task.name)) for task in suite.tasks]
        rows += _row(label, [as_number(one.ratio, one.ratio_stderr) if one else MISSING for one in there])
    heads = ("model", *(f"{task.category}/{task.name}" for task in suite.tasks))
    title = f"{suite.name}: score / {_AGAINST[suite.role]}'s ± standard error"
    return _fitting(Grid(title, heads, tuple(rows)))


def _row(label: str, texts: Sequence[str]) -> list[tuple[str, ...]]:
    """A row of a grid, or none: a model that was not asked anything has no place in it."""
    return [(label, *texts)] if any(text != MISSING for text in texts) else []


def _fitting(grid: Grid) -> Grid:
    """The grid with its longer side downwards: a page is longer than wide."""
    if len(grid.heads) <= len(grid.rows) + 1:
        return grid
    turned = tuple(zip(grid.heads, *grid.rows, strict=True))
    return Grid(grid.title, ("task", *turned[0][1:]), turned[1:])


def _title(suite: Suite) -> str:
    metrics = ", ".join(dict.fromkeys(task.metric for task in suite.tasks))
    return f"{suite.name} ({suite.role}): {metrics} ± standard error"


def _normalised(labels: Sequence[str], means: Sequence[Average]) -> Grid:
    """Averages over categories. Held-in is relative to the experts, held-out to the base."""
    table = {(mean.label, mean.role): mean for mean in means}
    roles = list(dict.fromkeys(mean.role for mean in means))
    heads = ["model"]
    for role in roles:
        heads += [f"{role} / {_AGAINST[role]}", f"{role} above chance"]
    rows = []
    for label in labels:
        row = [label]
        for role in roles:
            mean = table.get((label, role))
            row += (
                [as_number(mean.ratio, mean.ratio_stderr), as_number(mean.corrected)]
                if mean
                else [MISSING] * 2
            )
        rows += _row(label, row[1:])
    title = f"normalised: mean inside each category, then over categories ({MISSING}: missing or undefined)"
    return Grid(title, tuple(heads), tuple(rows))


def as_text(grid: Grid) -> str:
    """A grid in plain aligned columns, for files and pipes."""
    lines = [tuple(map(shown, line)) for line in (grid.heads, *grid.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(grid.heads))]
    text = [
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for line in lines
    ]
    return "\n".join([shown(grid.title), *text])


def show(found: Sequence[Grid]) -> None:
    """Print grids to stdout: ruled and fitted on a terminal, plain aligned text elsewhere."""
    if not sys.stdout.isatty():
        print("\n\n".join(as_text(grid) for grid in found))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for grid in found:
        table = Table()
        for position, head in enumerate(grid.heads):
            table.add_column(Text(shown(head)), justify="right" if position else "left", overflow="fold")
        for row in grid.rows:
            table.add_row(*(Text(shown(cell)) for cell in row))
        console.print(Text(shown(grid.title)), table, sep="\n", highlight=False)


def as_json(evaluation: Evaluation, cells: Sequence[Relative], means: Sequence[Average]) -> dict[str, Any]:
    """Everything as plain values; items are left out, they are in the records' own files."""
    records = [{k: v for k, v in one.to_dict().items() if k != "items"} for one in evaluation.records]
    return {
        "records": records,
        "relative": [asdict(cell) for cell in cells],
        "averages": [asdict(mean) for mean in means],
        "failures": [asdict(failure) for failure in evaluation.failures],
        "reused": evaluation.reused,
    }
