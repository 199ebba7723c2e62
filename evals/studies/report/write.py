"""Write a study's report: the one door of this room. What is on disk is never half a file."""

from __future__ import annotations

from pathlib import Path

from evals.studies.report.about import About
from evals.studies.report.figures.drawn import draw_all
from evals.studies.report.page import as_html, as_markdown, contents
from evals.studies.report.records import CELLS, RECORDS, cells_json, records_parquet
from evals.studies.report.study import Study
from evals.studies.tables.values import Tables
from pipeline.checkpoint.files import atomic_write


def write_report(tables: Tables, about: About, out: Path, published: str = "") -> Path:
    """Write the page, report.md, records.parquet, cells.json and figures/ into `out`; returns index.html.

    published: what records.parquet says beside the scores, see `records.records_parquet`.

    `out` is made if it is not there. The same tables and words give the same bytes with the same versions of
    matplotlib and pyarrow. Figures of an earlier report that have nothing to show any more are removed. The
    page is written last: it speaks of files that are there.
    """
    study = Study(tables, about.qualities, about.methods)
    pictures = draw_all(study)
    found = contents(study, about, pictures)
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    atomic_write(out / RECORDS, records_parquet(tables.scores, published))
    atomic_write(out / CELLS, cells_json(found.cells))
    for picture in pictures:
        for suffix, content in ((".svg", picture.svg), (".png", picture.png)):
            path = figures / f"{picture.name}{suffix}"
            if picture.why:
                path.unlink(missing_ok=True)
            else:
                atomic_write(path, content)
    atomic_write(out / "report.md", as_markdown(found))
    atomic_write(out / "index.html", as_html(found))
    return out / "index.html"
