"""Pictures of scores: what is drawn where, and files that come out."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from evals.fanout import Evaluation
from evals.plot import draw_scores
from evals.suites import Suite, load_suite
from tests.helpers.records import record
from tests.helpers.tasks import ROLLING, choice_task, write_suite


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """Two accuracies and a perplexity."""
    rolling = {**choice_task("read", definition=ROLLING, data={"test": "t.jsonl"}), "chance": None}
    entries = [choice_task("one"), {**rolling, "metric": "word_perplexity"}, choice_task("two")]
    return load_suite(write_suite(tmp_path / "toy.yaml", {"choice": entries}))


@pytest.fixture
def evaluation() -> Evaluation:
    """Two models on the three tasks; the second one failed on one."""
    found = [record("a", "one"), record("a", "two"), record("a", "read", value=5000.0, stderr=900.0)]
    return Evaluation((*found, record("b", "one")), (), 0, ("a", "b"))


def test_metrics_share_no_axis(
    suite: Suite, evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each metric has its own panel with its own tasks: a large perplexity squeezes no accuracy."""
    seen: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: seen.append(figure))
    draw_scores([suite], evaluation, tmp_path / "scores.png")
    panels = seen[0].axes
    rows = [[label.get_text() for label in axes.get_yticklabels()] for axes in panels]
    assert rows == [["choice/one", "choice/two"], ["choice/read"]]
    titles = [axes.get_title(loc="left").split(": ")[1] for axes in panels]
    assert titles == ["acc ± standard error", "word_perplexity ± standard error"]
    assert panels[0].get_xlim()[1] < 2 and panels[1].get_xlim()[1] > 4000
    legend = [text.get_text() for text in seen[0].legends[0].get_texts()]
    assert sorted(legend) == ["(chance)", "a", "b"]


@pytest.mark.parametrize("name", ["scores.svg", "deep/scores.png"])
def test_a_picture_is_written(suite: Suite, evaluation: Evaluation, tmp_path: Path, name: str) -> None:
    """The file is there in the kind that its name says, and its folder is made."""
    path = tmp_path / name
    draw_scores([suite], evaluation, path)
    assert path.read_bytes().startswith(b"<?xml" if path.suffix == ".svg" else b"\x89PNG")


def test_nothing_measured_is_an_empty_picture(suite: Suite, tmp_path: Path) -> None:
    """Where every score failed the picture still comes, with the chance levels alone."""
    draw_scores([suite], Evaluation((), (), 0, ("a",)), tmp_path / "scores.png")
    assert (tmp_path / "scores.png").stat().st_size > 0
