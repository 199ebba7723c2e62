"""The report as a reader gets it: whole, by itself, honest about holes. It is written once and read often."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from evals.studies.report.page import as_html, as_markdown, contents
from evals.studies.report.study import Study
from evals.studies.report.view import lacks
from evals.studies.report.write import write_report
from evals.studies.tables.values import Tables
from tests.evals.studies.report.html import Page
from tests.helpers import studies

SMALL: dict[str, Any] = {
    "sizes": ("1m", "4m"),
    "counts": (2, 8),
    "seeds": (0, 1),
    "methods": ("average", "ties"),
}
WHY = "expert <spelling> | units & more: lost"


@pytest.fixture(scope="module")
def tables() -> Tables:
    """A small study with one merge and one multitask model missing."""
    return studies.tables(**SMALL, missing={"4m-weak/merge/ties/8/1": WHY, "1m-strong/multitask": "not yet"})


@pytest.fixture(scope="module")
def out(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where its report lies."""
    folder = tmp_path_factory.mktemp("report")
    write_report(tables, studies.about(finished=False, failures=(studies.failure(),)), folder)
    return folder


@pytest.fixture(scope="module")
def page(out: Path) -> Page:
    """Its page, parsed."""
    return Page((out / "index.html").read_text())


def html_of(tables: Tables, **said: object) -> str:
    """The page without its figures, which take long to draw."""
    about = studies.about(**said)
    return as_html(contents(Study(tables, about.qualities, about.methods), about, ())).decode()


def test_page_is_well_formed(page: Page) -> None:
    """Every element is closed in turn, and no id is used twice."""
    assert not page.open and not page.wrong
    ids = page.values("id")
    assert len(ids) == len(set(ids))


def test_page_needs_nothing_else(page: Page, out: Path) -> None:
    """Nothing is loaded from anywhere: no script, no resource; links lead into the page or beside it."""
    names = {tag for tag, _ in page.elements}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "video", "audio"}
    ids = set(page.values("id"))
    for link in page.values("href") + page.values("xlink:href"):
        inside = link.startswith("#") and link[1:] in ids
        assert inside or (out / link).is_file() or link.startswith("data:image/png;base64,"), link
    assert not page.values("src") and not page.values("onclick")
    urls = re.findall(r"url\(([^)]*)\)", (out / "index.html").read_text())
    assert all(url.startswith("#") and url[1:] in ids for url in urls)


def test_figures_are_svg_and_png(out: Path) -> None:
    """Every figure is well-formed SVG and a PNG of the same name, and Markdown shows it."""
    shown = re.findall(r"!\[[^]]*\]\(figures/([^)]*)\.svg\)", (out / "report.md").read_text())
    files = sorted((out / "figures").iterdir())
    assert sorted(f"{name}.{kind}" for name in shown for kind in ("png", "svg")) == [
        one.name for one in files
    ]
    for path in files:
        if path.suffix == ".svg":
            assert ET.parse(path).getroot().tag.endswith("svg")
        else:
            assert path.read_bytes().startswith(b"\x89PNG")
    expected = {f"{role}-{kind}" for role in ("held-in", "held-out") for kind in ("size", "count", "heat")}
    assert set(shown) == expected | {"multitask", "spread", "retention", "held-in-law"}


def test_each_cell_stands_once_a_measure(page: Page, tables: Tables) -> None:
    """Every summary is shown exactly once in each of its three tables, and once with its records."""
    links = page.values("href")
    for number in range(1, len(tables.summaries) + 1):
        assert links.count(f"#cell-{number}") == 4


def test_cells_lead_to_their_records(page: Page, tables: Tables, out: Path) -> None:
    """cells.json lists, for the cell of each link, ids that are rows of records.parquet."""
    cells = json.loads((out / "cells.json").read_text())
    rows = pq.read_table(out / "records.parquet").to_pylist()
    known = {row["id"]: row for row in rows}
    assert [cell["cell"] for cell in cells] == [f"cell-{n}" for n in range(1, len(tables.summaries) + 1)]
    for cell, summary in zip(cells, tables.summaries, strict=True):
        assert tuple(cell["records"]) == summary.records
        assert all(known[id]["base"] == cell["base"] for id in cell["records"])
        assert all(id in "".join(page.text) for id in cell["records"][:2])
    assert len(rows) == len(tables.scores)
    assert {row["why"] for row in rows if row["value"] is None} == {WHY, "not yet"}
    assert all(row["items"] == list(score.items) for row, score in zip(rows, tables.scores, strict=True))


def test_holes_are_dashes_with_reasons(tables: Tables) -> None:
    """A summary with a hole shows a dash and a number, never a figure, and the number's reason is given."""
    text = html_of(tables)
    holes = [n for n, one in enumerate(tables.summaries, start=1) if one.holes and one.ratio is None]
    assert holes
    for number in holes:
        shown = re.findall(rf'<td class="cell"><a href="#cell-{number}">([^<]*)</a>(.*?)</td>', text)
        assert shown[0][0] == "–" and "<small>" not in shown[0][1]
        note = re.search(r'href="#(missing-\d+)"', shown[0][1])
        assert note and f'id="{note[1]}"' in text
    assert "task" not in WHY and "expert &lt;spelling&gt; | units &amp; more: lost" in text


def test_cells_that_lack_the_same_share_a_note() -> None:
    """One reason is one sentence: tasks together, seeds named only where some are whole, others by name."""
    one = studies.tables(**SMALL).summaries[0]
    merge = replace(one.subject, kind="merge", method="ties", count=2)
    own = f"{merge.base}/ties/2 experts/seed"
    cell = replace(one, subject=merge, by_seed={0: None, 1: 1.0}, undefined=())
    lost = (f"a_0 of {own} 0: lost", f"a_1 of {own} 0: lost", "a_0 of expert a of b: not trained")
    assert lacks(replace(cell, holes=lost)) == "a_0 and a_1 (seed 0): lost; a_0 of expert a of b: not trained"
    both = (f"a_0 of {own} 0: lost", f"a_0 of {own} 1: lost")
    assert lacks(replace(cell, holes=both)) == "a_0: lost"
    assert lacks(replace(cell, holes=())) == ""


def test_status_counts_holes(tables: Tables) -> None:
    """A report says whether it is partial, finished with holes or complete, and how much is missing."""
    missing = sum(score.value is None for score in tables.scores)
    assert f"partial: 90 of 100 scores so far, {missing} missing" in html_of(
        tables, finished=False, scores_done=90
    )
    assert f"finished with holes: 90 of 100 scores, {missing} missing" in html_of(tables, scores_done=90)
    assert "✓ complete: 100 of 100 scores" in html_of(studies.tables(**SMALL))


def test_verdicts_are_words_and_signs(page: Page, out: Path) -> None:
    """Each finding gives its verdict in words beside a sign of its own shape, in both forms."""
    text = "".join(page.text)
    for verdict in (
        "✓ supported",
        "✗ the opposite is seen",
        "≈ no difference larger than 0.02",
        "? cannot tell",
    ):
        assert verdict in text and verdict in (out / "report.md").read_text()


def test_names_are_escaped(tables: Tables) -> None:
    """A name with markup in it is shown as it is, in HTML and in Markdown, and changes neither."""
    evil = 'x<script>alert(1)</script>|*&"[a](http://b)'
    scores = tuple(replace(one, subject=replace(one.subject, base=evil)) for one in tables.scores)
    summaries = tuple(replace(one, subject=replace(one.subject, base=evil)) for one in tables.summaries)
    bad = replace(tables, scores=scores, summaries=summaries)
    about = studies.about(study=evil, config=f"```\n{evil}\n````\n")
    found = contents(Study(bad), about, ())
    page = Page(as_html(found).decode())
    assert not page.wrong and "script" not in {tag for tag, _ in page.elements}
    assert evil in "".join(page.text)
    lines = as_markdown(found).decode().split("\n`````yaml")[0]
    assert "<script>" not in lines and not re.search(r"(?<!\\)]\(http", lines)
    assert_tables_are_even(as_markdown(found).decode())


def test_markdown_tables_are_even(out: Path) -> None:
    """Every row of a Markdown table has as many cells as its head."""
    assert_tables_are_even((out / "report.md").read_text())


def assert_tables_are_even(text: str) -> None:
    """A table is a run of lines that begin with a bar."""
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) > 10
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table[:300]
        assert re.match(r"\|( -+:? \|)+$", table.splitlines()[1])


def test_same_tables_same_bytes(tables: Tables, out: Path, tmp_path: Path) -> None:
    """Writing the same report again gives the same files, byte for byte."""
    write_report(tables, studies.about(finished=False, failures=(studies.failure(),)), tmp_path)
    names = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for name in names:
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name


def test_a_long_reason_is_said_whole_once(tables: Tables) -> None:
    """Notes say what is missing and why in brief; where and what to do stand once, in the list of reasons."""
    cell = next(one for one in tables.summaries if one.subject.kind == "base")
    hole = 'a_0 of expert a of b: model "x" is not there; where: /models/x; hint: check the path'
    assert lacks(replace(cell, holes=(hole,))) == 'a_0 of expert a of b: model "x" is not there'
