"""The tables: every number in its place, gaps and failures visible, the same on a terminal and in a pipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evals.fanout import Evaluation, Failure
from evals.normalise import averages, normalise
from evals.suites import Suite, load_suite
from evals.table import Grid, as_json, as_number, as_text, grids, show
from tests.helpers.records import record
from tests.helpers.tasks import choice_task, write_suite


@pytest.fixture
def suites(tmp_path: Path) -> list[Suite]:
    """A held-in suite of two tasks, and a held-out suite of one."""
    entries = {"choice": [choice_task("pick"), choice_task("other")]}
    return [
        load_suite(write_suite(tmp_path / "toy.yaml", entries)),
        load_suite(write_suite(tmp_path / "far.yaml", {"new": [choice_task("new")]}, role="held-out")),
    ]


EVALUATION = Evaluation(
    records=(
        record("merged", "pick", [1.0, 1.0, 0.0, 0.0]),
        record("merged", "new", [1.0, 0.0, 0.0, 0.0], suite="far", role="held-out", category="new"),
        record("base", "pick", [1.0, 0.0, 0.0, 0.0]),
        record("base", "new", [1.0, 1.0, 0.0, 0.0], suite="far", role="held-out", category="new"),
    ),
    failures=(Failure("merged", "/models/merged", "toy", "other", "it broke"),),
    reused=1,
    labels=("merged", "base"),
)


def column(grid: Grid, head: str) -> dict[str, str]:
    """Row name -> text under a head."""
    place = grid.heads.index(head)
    return {row[0]: row[place] for row in grid.rows}


def test_every_cell_is_a_score_a_gap_or_a_failure(suites: list[Suite]) -> None:
    """Scores show with their error, what was not measured as a dash, what failed as failed."""
    toy, far = grids(suites, EVALUATION, [], [])
    assert column(toy, "choice/pick") == {
        "(chance)": "0.333",
        "merged": "0.500 ±0.289",
        "base": "0.250 ±0.250",
    }
    assert column(toy, "choice/other") == {"(chance)": "0.333", "merged": "failed", "base": "–"}
    assert column(far, "new/new") == {
        "(chance)": "0.333",
        "merged": "0.250 ±0.250",
        "base": "0.500 ±0.289",
    }
    assert "held-in" in toy.title and "acc" in toy.title


def test_normalised_columns_come_with_a_reference_only(suites: list[Suite]) -> None:
    """With references every suite's ratios and their averages follow; a mean over a gap is a dash."""
    cells = normalise(EVALUATION.records, base="base", experts={"choice": "base"})
    _, _, toy, far, normalised = grids(suites, EVALUATION, cells, averages(cells))
    assert column(toy, "choice/pick")["merged"].startswith("2.000 ±") and "expert" in toy.title
    assert column(toy, "choice/other") == {"merged": "–", "base": "–"}
    assert column(far, "new/new")["merged"].startswith("0.500 ±") and "base" in far.title
    assert column(normalised, "held-out / base")["merged"].startswith("0.500 ±")
    assert column(normalised, "held-in / expert")["merged"].startswith("2.000 ±")
    assert column(normalised, "held-in above chance")["merged"] == "–", "the reference is at chance"


def test_plain_text_is_aligned() -> None:
    """In plain text every row is as wide as the others, numbers flush right, with no colour codes."""
    text = as_text(
        Grid("title", ("model", "a/long-head", "b"), (("x", "1", "2"), ("longer-name", "10", "–")))
    )
    title, *lines = text.splitlines()
    assert title == "title" and "\x1b" not in text
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == ["x", "1", "2"]


def test_a_terminal_shows_the_same_cells(
    suites: list[Suite], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the table has rules, and every cell of the plain one."""
    found = grids(suites, EVALUATION, [], [])
    show(found)
    plain = capsys.readouterr().out
    assert plain == "\n\n".join(as_text(grid) for grid in found) + "\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    show(found)
    ruled = capsys.readouterr().out
    assert all(cell in ruled for grid in found for row in grid.rows for cell in row)
    assert "─" in ruled


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (0.5, None, "0.500"),
        (None, None, "–"),
        (None, 0.1, "–"),
        (256.25, 12.34, "256.2 ±12.3"),
        (0.0, 0.0, "0.000 ±0.000"),
    ],
)
def test_numbers_are_short(value: float | None, stderr: float | None, text: str) -> None:
    """Three digits for scores, one for large figures such as perplexities."""
    assert as_number(value, stderr) == text


def test_json_holds_everything_but_items() -> None:
    """The JSON has every record, ratio, average and failure, and survives a strict reader."""
    cells = normalise(EVALUATION.records, base="base")
    found = json.loads(json.dumps(as_json(EVALUATION, cells, averages(cells)), allow_nan=False))
    assert [one["label"] for one in found["records"]] == ["merged", "merged", "base", "base"]
    assert "items" not in found["records"][0] and found["records"][0]["value"] == 0.5
    assert found["failures"][0]["reason"] == "it broke" and found["reused"] == 1
    assert {one["role"] for one in found["averages"]} == {"held-in", "held-out"}
    assert [one["ratio"] for one in found["relative"] if one["task"] == "new"] == [0.5, 1.0]
