"""Names from outside on terminals, in tables and on plots: they are shown, and never obeyed."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.progress import Progress
from evals.fanout import Evaluation, Failure
from evals.plot import draw_scores
from evals.suites import load_suite
from evals.table import Grid, as_text, show
from pipeline.errors import shown_lines
from pipeline.training.curves import draw_losses
from pipeline.training.steplog import Step
from tests.helpers.merging import write_config
from tests.helpers.models import write_family, write_model
from tests.helpers.records import record
from tests.helpers.shell import Shell, shell
from tests.helpers.tasks import choice_task, write_suite

__all__ = ["shell"]

EVIL = "\x1b]0;pwned\x07\x1b[2Jx\nerror: all is well"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_lines_of_a_command_hold_no_control_characters(shell: Shell, tmp_path: Path) -> None:
    """Tensor names with escapes, in errors, notes and plans, reach the terminal as their escapes."""
    base, experts = write_family(tmp_path, experts=2)
    write_model(experts[0], base=base, extra={EVIL: torch.ones(2)})
    config = write_config(tmp_path / "m.json", "ties", base, experts)
    done = shell("plan", config)
    assert done.code == 2 and "\\x1b" in done.err
    for stream in (done.err, done.out):
        assert "\x1b" not in stream and "\x07" not in stream and "\nerror: all is well" not in stream


def test_a_config_path_holds_none(shell: Shell) -> None:
    """A path with escapes is shown as its escapes."""
    done = shell("plan", EVIL)
    assert done.code == 2 and "\x1b" not in done.err and "\nerror: all is well" not in done.err


def test_notes_are_few(shell: Shell, tmp_path: Path) -> None:
    """Fifteen thousand filters that match nothing are noted in a page, not in megabytes."""
    filters = [{"filter": f"nothing.{i}", "value": 1} for i in range(15_000)]
    model = {"model": "synthetic:600m/base", "parameters": {"weight": [*filters, 1]}}
    text = json.dumps({"merge_method": "linear", "models": [model]})
    (tmp_path / "m.json").write_text(text)
    assert len(text) < 1 << 20
    done = shell("plan", "m.json")
    assert len(done.err) < 40_000


def test_progress_shows_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels and notes of the live line and of the plain one hold no escapes of theirs, and no markup."""
    for stream in (io.StringIO(), Terminal()):
        with Progress(10, f"{EVIL} [bold]x[/bold]", stream=stream) as progress:
            progress.note(f"{EVIL} [link=http://x]y[/link]")
        text = stream.getvalue()
        assert "\x1b]0;" not in text and "\x07" not in text and "[bold]x" in text and "[link=" in text


def test_tables_show_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A label with escapes or with markup stands in a table as it is written, on a terminal too."""
    grid = Grid(f"t [red] {EVIL}", ("model", "a[b]"), (("[bold]x[", EVIL), ("[link=http://x]y", "1")))
    assert "\x1b" not in as_text(grid) and "[bold]x[" in as_text(grid)
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    show([grid])
    text = screen.getvalue()
    assert all(part in text for part in ("[bold]x[", "[link=http://x]y", "a[b]", "t [red]"))
    assert "\x1b]" not in text and "\x07" not in text


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_plots_take_any_label(tmp_path: Path, kind: str) -> None:
    """A label with dollar signs and braces is no formula, and a plot of it is drawn."""
    labels = ("$x_{$", "$a$ and $b", EVIL)
    suite = load_suite(write_suite(tmp_path / "toy.yaml", {"choice": [choice_task("one")]}))
    records = [replace(record(label, "one"), suite=suite.name) for label in labels]
    failures = (Failure(labels[0], "m", suite.name, "one", "why"),)
    draw_scores([suite], Evaluation(tuple(records), failures, 0, labels), tmp_path / f"plot.{kind}")
    assert (tmp_path / f"plot.{kind}").stat().st_size > 1000
    steps = [Step(number, 3, 1.0 / number, 1.0, 1e-3, 10, 1.0) for number in (1, 2, 3)]
    named: dict[str, Any] = dict.fromkeys(labels, steps)
    draw_losses(named, tmp_path / "loss.svg")


def test_lines_are_kept() -> None:
    """Our own line ends stay; everything else of a line is made printable and clipped."""
    assert shown_lines("a\tb\nc\x1b[0m") == "a\\tb\nc\\x1b[0m"
    assert len(shown_lines("x" * 10_000 + "\n" + "y")) == 4002
