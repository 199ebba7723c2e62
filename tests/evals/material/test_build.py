"""Task files: what each task asks, and splits that share nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evals.demo.data import SIZES, SUMMARY, DemoData, majority, prepare_data, split, write_tasks
from evals.demo.tasks import TASKS, DemoTask, Item

from evals.demo import data
from evals.suites import load_suite, locate_data
from pipeline.errors import RunError
from pipeline.training.config import load_train_config
from pipeline.training.examples import read_examples
from tests.helpers.archives import write_archives

ROOT = Path(__file__).parents[3]
BY_NAME = {task.name: task for task in TASKS}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small archives of the same form as the real ones."""
    return write_archives(tmp_path_factory.mktemp("archives"))


@pytest.fixture(scope="module")
def files(archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> DemoData:
    """All task files, made from those archives."""
    folder = tmp_path_factory.mktemp("data") / "files"
    write_tasks(TASKS, archives, folder)
    return DemoData(folder)


def rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", BY_NAME)
def test_splits_are_full_and_share_no_key(files: DemoData, name: str) -> None:
    """Every split has its size, no key and no question is in two of them, and only held-in tasks train."""
    splits = [one for one in SIZES if one != "train" or BY_NAME[name].role == "held-in"]
    assert sorted(file.stem for file in (files.folder / name).iterdir()) == sorted(splits)
    for what in ("key", "question"):
        found = [{row[what] for row in rows(files.file(name, one))} for one in splits]
        assert sum(map(len, found)) == len(set().union(*found))
    assert {one: len(rows(files.file(name, one))) for one in splits} == {one: SIZES[one] for one in splits}


@pytest.mark.parametrize("name", BY_NAME)
def test_no_task_can_be_answered_without_its_question(files: DemoData, name: str) -> None:
    """The best constant guess stays within three standard errors of chance, on the test rows."""
    summary = json.loads((files.folder / SUMMARY).read_text())[name]
    chance = BY_NAME[name].chance
    assert summary["chance"] == chance
    assert summary["majority"] <= chance + 3 * (chance * (1 - chance) / SIZES["test"]) ** 0.5
    for row in rows(files.file(name, "test")):
        assert len(row["choices"]) == len(set(row["choices"])) == round(1 / chance)
        assert all(choice.isalpha() for choice in row["choices"])


def answers(archives: dict[str, Path], name: str) -> dict[str, str]:
    """Question -> right answer, for all items of a task."""
    return {item.question: item.choices[item.label] for item in BY_NAME[name].build(archives)}


def test_sentences_are_clear_and_clean(archives: dict[str, Path]) -> None:
    """Ratings become words, entities become characters; unclear and short sentences are left out."""
    found = answers(archives, "movie_reviews")
    assert found["Text: This & that is sentence number 7 of movieReviewSnippets.\nSentiment:"] == "positive"
    assert found["Text: This & that is sentence number 8 of movieReviewSnippets.\nSentiment:"] == "negative"
    assert not any("Nobody" in question or "Short" in question for question in found)


def test_diagnoses_are_asked_by_area(archives: dict[str, Path]) -> None:
    """An entry's area is that of its chapter; chapters without a word of their own are left out."""
    found = answers(archives, "diagnoses")
    assert found["Diagnosis: disease 2 3\nArea:"] == "cancer"
    assert not any(question.startswith("Diagnosis: disease 21 ") for question in found)


def test_words_are_right_or_wrong(archives: dict[str, Path]) -> None:
    """A misspelt word is wrong, its correct form correct, and each word is asked once."""
    found = answers(archives, "spelling")
    assert set(found.values()) == {"wrong", "correct"}
    for question, answer in found.items():
        assert question.removesuffix("\nSpelling:").endswith("q") == (answer == "wrong")
    variety = answers(archives, "spelling_variety")
    assert all(("ise\n" in question) == (answer == "British") for question, answer in variety.items())


def test_continents_leave_out_what_has_no_clear_answer(archives: dict[str, Path]) -> None:
    """Each capital has its country's continent; regions that are not asked for are left out."""
    found = answers(archives, "continents")
    assert found["Capital: City 11, Land 11\nContinent:"] == "America"
    assert not any("Land 14\n" in question for question in found)


def test_the_same_packages_give_the_same_files(
    archives: dict[str, Path], files: DemoData, tmp_path: Path
) -> None:
    """Building twice writes the same bytes."""
    write_tasks(TASKS, archives, tmp_path / "again")
    for file in sorted(files.folder.rglob("*.json*")):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(files.folder)).read_bytes()


def test_too_few_rows_are_an_error() -> None:
    """A task that cannot fill its splits is told by name."""
    items = [Item(str(n), f"q{n}", ("a", "b"), n % 2) for n in range(SIZES["test"] + 5)]
    task = DemoTask("few", "held-out", "none", 0.5, (), lambda archives: items)
    with pytest.raises(RunError, match="few"):
        split(task, items)


def test_the_majority_counts_words_and_places() -> None:
    """The best constant guess is the commoner of a word and of a position."""
    same_word = [Item("k", "q", ("a", "b"), 0), Item("k", "q", ("b", "a"), 1), Item("k", "q", ("c", "d"), 1)]
    assert majority(same_word) == pytest.approx(2 / 3)
    assert majority([Item("k", "q", ("a", "b"), 1), Item("k", "q", ("c", "d"), 1)]) == 1.0


def test_data_is_prepared_once(
    archives: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call reads one file and builds nothing; a build that fails leaves nothing."""
    monkeypatch.setattr(data, "fetch", lambda package, cache, report: archives[package.name])
    real = data.write_tasks

    def fail(*args: Any) -> None:
        real(*args)
        raise RunError("stopped")

    monkeypatch.setattr(data, "write_tasks", fail)
    with pytest.raises(RunError):
        prepare_data(tmp_path, lambda line: None)
    assert list((tmp_path / "data").iterdir()) == []
    monkeypatch.setattr(data, "write_tasks", real)
    said: list[str] = []
    first = prepare_data(tmp_path, said.append)
    monkeypatch.setattr(data, "write_tasks", None)
    assert prepare_data(tmp_path, said.append) == first
    assert said == ["building task files"]


def test_suites_and_experts_name_these_files(files: DemoData) -> None:
    """The demo's suites score each task with its role and chance; experts train on the held-in ones."""
    scored = {}
    for role in ("held-in", "held-out"):
        suite = locate_data(load_suite(ROOT / f"configs/suites/demo-{role}.yaml"), files.folder)
        scored |= {task.name: (suite.role, task.chance, dict(task.data)["test"][0]) for task in suite.tasks}
    wanted = {
        task.name: (task.role, task.chance, str(files.file(task.name, "test").resolve())) for task in TASKS
    }
    assert scored == wanted
    held_in = load_suite(ROOT / "configs/suites/demo-held-in.yaml").categories
    config = load_train_config(ROOT / "configs/demo/experts.yaml")
    assert {expert.name for expert in config.experts} == set(held_in)
    for expert in config.experts:
        (task,) = held_in[expert.name]
        assert expert.train == (Path("demo/data") / task.name / "train.jsonl",)
        assert len(read_examples(files.file(task.name, "train"))) == SIZES["train"]
