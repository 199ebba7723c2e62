"""Loss curves: a picture for every reader, and the same one every time."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.training.curves import draw_losses, line_style
from pipeline.training.steplog import Step


def curve(count: int, start: float) -> list[Step]:
    """A falling loss."""
    return [Step(number, count, start / number, 1.0, 0.1, 8, number) for number in range(1, count + 1)]


def test_lines_are_told_apart_without_colour(tmp_path: Path) -> None:
    """No two of 28 lines have the same dashes and marker, and the legend names each."""
    styles = [line_style(number) for number in range(28)]
    assert len({(style["linestyle"], style["marker"]) for style in styles}) == 28
    names = [f"expert {number}" for number in range(9)]
    draw_losses({name: curve(50, 2.0 + number) for number, name in enumerate(names)}, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert all(f"<!-- {name} -->" in text for name in names)
    assert len(set(re.findall(r"stroke-dasharray: ([\d., ]+)", text))) == 3  # and the line without dashes


def test_the_same_curves_give_the_same_bytes(tmp_path: Path) -> None:
    """Neither time nor chance is in the picture; a curve of one step is a picture too."""
    for name in ("a.svg", "b.svg"):
        draw_losses({"one": curve(1, 2.0)}, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
