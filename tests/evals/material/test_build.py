"""Task files: what each task asks, and splits that share nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals.material import build, prepare_material
from evals.material.build import SUMMARY, built_once, make_rows, write_tasks
from evals.material.items import Item, MaterialTask
from evals.material.materials import MATERIALS, Material
from evals.material.overlap import Passages
from evals.material.splits import split
from evals.suites import load_suite, locate_data
from pipeline.errors import InputError, RunError
from pipeline.training.config import load_train_config
from pipeline.training.examples import read_examples
from tests.helpers.npm_archives import write_study_archives

ROOT = Path(__file__).parents[3]
#: The study's own rules on fewer rows.
SMALL = {
    "demo": MATERIALS["demo"],
    "miniature": replace(MATERIALS["miniature"], test=24, validation=20, train=60, least_train=40),
}
BY_NAME = {(name, task.name): task for name, material in SMALL.items() for task in material.tasks}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small archives of the same form as the real ones."""
    return write_study_archives(tmp_path_factory.mktemp("archives"))


@pytest.fixture(scope="module")
def files(archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All task files of both materials, made from those archives."""
    folder = tmp_path_factory.mktemp("data")
    for name, material in SMALL.items():
        write_tasks(material, make_rows(material, archives), folder / name)
    return folder


def rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def sizes(name: str, task: MaterialTask) -> dict[str, int]:
    """The splits that a task must have and their rows."""
    one = SMALL[name]
    found = {"test": one.test, "validation": one.validation}
    return found | ({"train": one.train} if task.role == "held-in" else {})


@pytest.mark.parametrize(("material", "name"), BY_NAME)
def test_splits_are_full_and_share_no_key(files: Path, material: str, name: str) -> None:
    """Every split has its size, no key and no question is in two of them, and only held-in tasks train."""
    wanted = sizes(material, BY_NAME[material, name])
    found = {file.stem: rows(file) for file in (files / material / name).iterdir()}
    for what in ("key", "question"):
        values = [{row[what] for row in split_rows} for split_rows in found.values()]
        assert sum(map(len, values)) == len(set().union(*values))
    assert {one: len(split_rows) for one, split_rows in found.items()} == wanted


@pytest.mark.parametrize(("material", "name"), BY_NAME)
def test_no_task_can_be_answered_without_its_question(files: Path, material: str, name: str) -> None:
    """The best constant guess stays near chance on the test rows: in the study, as near as can be."""
    summary = json.loads((files / material / SUMMARY).read_text())[name]
    chance = BY_NAME[material, name].chance
    assert summary["chance"] == chance
    count = SMALL[material].test
    slack = 1 / count if SMALL[material].even else 3 * (chance * (1 - chance) / count) ** 0.5
    assert summary["majority"] <= chance + slack
    for row in rows(files / material / name / "test.jsonl"):
        assert len(row["choices"]) == len(set(row["choices"])) == round(1 / chance)


@pytest.mark.parametrize("name", [name for material, name in BY_NAME if material == "miniature"])
def test_the_study_cannot_be_answered_by_copying(files: Path, name: str) -> None:
    """Taking a choice that the question shows is no better than chance."""
    summary = json.loads((files / "miniature" / SUMMARY).read_text())[name]
    assert summary["copying"] == pytest.approx(summary["chance"], abs=0.02)


def test_training_rows_repeat_nothing_that_is_asked(files: Path) -> None:
    """No text of a test or validation row of any task stands in a training row of any task."""
    held, trained = [], []
    for file in (files / "miniature").rglob("*.jsonl"):
        items = [Item(row["key"], row["question"], tuple(row["choices"]), row["label"]) for row in rows(file)]
        texts = [text for item in items for text in item.texts]
        (trained if file.stem == "train" else held).extend(texts)
    index = Passages(held)
    assert trained
    assert not any(map(index.shared, trained))


def answers(archives: dict[str, Path], name: str) -> dict[str, str]:
    """Question -> right answer, for all items of a task."""
    return {item.question: item.choices[item.label] for item in BY_NAME["demo", name].build(archives)}


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
    archives: dict[str, Path], files: Path, tmp_path: Path
) -> None:
    """Building twice writes the same bytes."""
    for name, material in SMALL.items():
        write_tasks(material, make_rows(material, archives), tmp_path / name)
    for file in sorted(files.rglob("*.json*")):
        assert file.read_bytes() == (tmp_path / file.relative_to(files)).read_bytes()


@pytest.mark.parametrize("name", SMALL)
def test_too_few_rows_are_an_error(name: str) -> None:
    """A task that cannot fill its splits is told by name."""
    material: Material = SMALL[name]
    items = [Item(str(n), f"Q: q{n}\nA:", ("a", "b"), n % 2) for n in range(material.test + 5)]
    task = MaterialTask("few", "held-out", "none", 0.5, (), lambda archives: items)
    with pytest.raises(RunError, match="few"):
        split(material, task, items)


def test_a_key_gives_a_study_split_few_rows() -> None:
    """One source with many rows does not fill a test split alone."""
    items = [Item(str(n % 12), f"Q: q{n}\nA:", ("a", "b"), n % 2) for n in range(600)]
    task = MaterialTask("few", "held-out", "none", 0.5, (), lambda archives: items)
    found = split(SMALL["miniature"], task, items)
    for chosen in found.values():
        keys = [item.key for item in chosen]
        assert max(map(keys.count, keys)) <= SMALL["miniature"].per_key


def test_data_is_prepared_once(
    archives: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call builds nothing; a build that fails leaves nothing; only known materials are made."""
    monkeypatch.setattr(build, "fetch", lambda package, cache, report: archives[package.name])
    real = build.write_tasks

    def fail(*args: Any) -> None:
        real(*args)
        raise RunError("stopped")

    monkeypatch.setattr(build, "write_tasks", fail)
    with pytest.raises(RunError):
        prepare_material("demo", tmp_path)
    assert list((tmp_path / "data").iterdir()) == []
    monkeypatch.setattr(build, "write_tasks", real)
    said: list[str] = []
    first = prepare_material("demo", tmp_path, said.append)
    monkeypatch.setattr(build, "write_tasks", None)
    assert prepare_material("demo", tmp_path, said.append) == first
    assert said == ["building the task files of demo"]
    with pytest.raises(InputError, match="demos"):
        prepare_material("demos", tmp_path)


def test_two_builders_at_once_agree(tmp_path: Path) -> None:
    """Who finds the folder made by another meanwhile takes it; a folder that cannot be made is an error."""

    def slow(beside: Path) -> None:
        beside.mkdir()
        (beside / "mine").touch()
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "theirs").touch()

    assert [file.name for file in built_once(tmp_path / "made", slow).iterdir()] == ["theirs"]
    with pytest.raises(OSError, match="nothing"):
        built_once(tmp_path / "nothing", lambda beside: None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize("name", SMALL)
def test_suites_name_these_files(files: Path, name: str) -> None:
    """A material's two suites score each of its tasks once, with its role, category and chance."""
    found = {}
    for role in ("held-in", "held-out"):
        suite = load_suite(ROOT / f"configs/suites/{name}-{role}.yaml")
        assert suite.material == name
        suite = locate_data(suite, files / name)
        found |= {task.name: (suite.role, task.chance, dict(task.data)["test"][0]) for task in suite.tasks}
    assert found == {
        task.name: (task.role, task.chance, str((files / name / task.name / "test.jsonl").resolve()))
        for task in SMALL[name].tasks
    }


def test_the_demos_experts_train_on_these_files(files: Path) -> None:
    """There is one expert for each held-in category of the demo, on that task's training rows."""
    held_in = load_suite(ROOT / "configs/suites/demo-held-in.yaml").categories
    config = load_train_config(ROOT / "configs/demo/experts.yaml")
    assert {expert.name for expert in config.experts} == set(held_in)
    for expert in config.experts:
        (task,) = held_in[expert.name]
        assert expert.train == (Path("demo/data") / task.name / "train.jsonl",)
        assert len(read_examples(files / "demo" / task.name / "train.jsonl")) == SMALL["demo"].train
