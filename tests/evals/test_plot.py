"""Pictures of scores: what is drawn where, and files that come out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click import Option
from matplotlib.figure import Figure

from evals.cli import eval_command
from evals.fanout import Evaluation, Failure
from evals.plot import check_plot, draw_scores
from evals.suites import Suite, load_suite
from pipeline.colours import OKABE_ITO
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


def test_models_that_failed_are_named(
    suite: Suite, evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A score that could not be measured is written in the picture by its model and task."""
    seen: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: seen.append(figure))
    failures = [Failure(label, "", "toy", task, "why") for label in ("b", "c") for task in ("two", "read")]
    draw_scores([suite], replace(evaluation, failures=tuple(failures)), tmp_path / "scores.png")
    draw_scores([suite], evaluation, tmp_path / "scores.png")
    titles = [figure.legends[0].get_title().get_text() for figure in seen]
    assert titles == ["not scored: b on toy/two, toy/read\nnot scored: c on toy/two, toy/read", ""]


def test_models_have_colours_that_everybody_tells_apart(
    suite: Suite, evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marks have the colours that all our figures share, not a library's default."""
    seen: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: seen.append(figure))
    draw_scores([suite], evaluation, tmp_path / "scores.png")
    assert [line.get_color() for line in seen[0].axes[0].lines if line.get_marker() in "os"] == [
        *OKABE_ITO[:2]
    ]


def test_the_help_names_every_kind_of_picture() -> None:
    """What --plot's help says and what it takes are the same kinds."""
    (option,) = (one for one in eval_command.params if one.name == "plot")
    for kind in (".svg", ".png", ".pdf"):
        check_plot(Path(f"scores{kind}"))
        assert isinstance(option, Option) and kind in (option.help or "")


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
