"""Figures: what is left out and why, where lines break, and that nobody needs to see colours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from evals.studies.report.figures.drawn import Picture, draw_all
from evals.studies.report.figures.lines import against_count, against_size, apartness, retention
from evals.studies.report.figures.marks import against_multitask, heat
from evals.studies.report.figures.style import look, styled
from evals.studies.report.study import Study
from evals.studies.report.words import figure, number, size_text, time_text
from evals.studies.report.write import write_report
from evals.studies.tables.values import Estimate, Tables
from tests.helpers import studies

SMALL: dict[str, Any] = {
    "sizes": ("1m", "4m"),
    "counts": (2, 8),
    "seeds": (0,),
    "methods": ("average", "ties"),
}


def test_one_size_leaves_out_what_compares_sizes() -> None:
    """With one size there is no figure against size, and the sentence says why."""
    study = Study(studies.tables(**(SMALL | {"sizes": ("1m",)})))
    assert "same size" in str(against_size(study, "held-in"))
    assert "same size" in str(apartness(study, "held-in"))
    assert "same size" in str(retention(study, "held-in"))


def test_one_count_leaves_out_what_compares_counts() -> None:
    """With one number of experts nothing is drawn against it."""
    study = Study(studies.tables(**(SMALL | {"counts": (2,)})))
    assert "number of experts" in str(against_count(study, "held-in"))
    assert "number of experts" in str(retention(study, "held-in"))


def test_nothing_scored_draws_nothing() -> None:
    """A study without any score yet has a sentence for every figure, and a report all the same."""
    study = Study(studies.tables(**SMALL, missing={"": "not scored yet"}))
    bare = Study(replace(study.tables, fits=()))
    assert all(isinstance(one, Picture) and one.why and not one.svg for one in draw_all(bare))


def test_lines_break_at_holes() -> None:
    """A missing score is a gap in its line: neither a zero nor a bridge to the next point."""
    missing = {"4m-weak/merge/ties/8": "lost"}
    study = Study(studies.tables(**SMALL, missing=missing), studies.QUALITIES)
    with styled():
        drawn = against_size(study, "held-in")
    assert not isinstance(drawn, str)
    weak_many = drawn.axes[2]
    assert weak_many.get_title(loc="left") == "weak, 8 experts"
    ties = next(line for line in weak_many.get_lines() if line.get_label() == "ties")
    values = np.asarray(ties.get_ydata(), dtype=float)
    assert values[0] > 0 and np.isnan(values[1])


def test_agreement_is_not_read_from_gaps() -> None:
    """Where a method is missing the distance between methods is missing too."""
    study = Study(studies.tables(**SMALL, missing={"4m-weak/merge/ties/8": "lost"}), studies.QUALITIES)
    with styled():
        drawn = apartness(study, "held-in")
    assert not isinstance(drawn, str)
    most = next(line for line in drawn.axes[0].get_lines() if line.get_label() == "8 experts")
    assert list(np.isnan(np.asarray(most.get_ydata(), dtype=float))) == [False, True]


def test_heat_map_hatches_what_is_missing() -> None:
    """A missing merge is a hatched row without figures."""
    study = Study(studies.tables(**SMALL, missing={"4m-weak/merge/ties/8": "lost"}))
    with styled():
        drawn = heat(study, "held-in")
    assert not isinstance(drawn, str)
    axes = drawn.axes[0]
    assert len(axes.patches) == 8 and all(patch.get_hatch() for patch in axes.patches)
    assert len(axes.texts) == 7 * 8


def test_no_multitask_no_figure() -> None:
    """Without a score of a multitask model there is none to draw beside merges."""
    study = Study(studies.tables(**SMALL, missing={"/multitask": "not trained"}))
    assert "No multitask" in str(against_multitask(study))


def test_lines_differ_without_colour() -> None:
    """Marker and dash together are different for every one of 28 lines."""
    seen = {(one["marker"], one["linestyle"]) for one in map(look, range(28))}
    assert len(seen) == 28


def test_global_state_is_left_alone(tmp_path: Path) -> None:
    """Drawing changes no setting of matplotlib, and an old figure that has nothing to show any more goes."""
    before = dict(matplotlib.rcParams)
    tables: Tables = replace(studies.tables(**(SMALL | {"sizes": ("1m",)})), fits=())
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "spread.svg").write_text("old")
    write_report(tables, studies.about(), tmp_path)
    assert dict(matplotlib.rcParams) == before
    assert not (tmp_path / "figures" / "spread.svg").exists()
    assert (
        "Left out: How far methods are apart. Every base has the same size"
        in (tmp_path / "report.md").read_text()
    )


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_no_number_is_a_dash(value: float | None) -> None:
    """Neither a missing value nor one that is not finite is ever printed as a figure."""
    assert number(value) == "–"


def test_numbers_carry_units_and_uncertainty() -> None:
    """An estimate shows value, spread and interval; bytes and seconds their unit."""
    assert figure(Estimate(0.9128, 0.0121, 0.89, 0.934)) == "0.913 ±0.012 [0.890, 0.934]"
    assert figure(Estimate(-0.5, None, None, None)) == "−0.500"
    assert figure(None) == "–"
    assert [size_text(n) for n in (999, 1_300_000_000)] == ["999 B", "1.3 GB"]
    assert [time_text(s) for s in (12.0, 600.0, 9000.0)] == ["12.0 s", "10.0 min", "2.5 h"]
