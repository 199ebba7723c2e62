"""Pretraining text and instruction rows: what is in them, and that nothing to be answered is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evals.material import build, corpus, instruct, prepare_corpus, prepare_instruct
from evals.material.build import held_passages
from evals.material.corpus import documents
from evals.material.instruct import all_rows
from evals.material.items import majority
from evals.material.materials import MATERIALS
from pipeline.training.examples import read_examples
from tests.helpers.npm_archives import write_study_archives


@pytest.fixture
def cache(archives: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache whose packages are the small ones, and a study with few rows."""
    small = replace(MATERIALS["miniature"], test=24, validation=20, train=60, least_train=40)
    monkeypatch.setitem(MATERIALS, "miniature", small)
    monkeypatch.setattr(build, "fetch", lambda package, cache, report: archives[package.name])
    return tmp_path


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small archives of the same form as the real ones."""
    return write_study_archives(tmp_path_factory.mktemp("archives"))


def test_the_corpus_holds_everything_but_what_is_asked(archives: dict[str, Path], cache: Path) -> None:
    """Every document that repeats no test or validation text is in it once, and no other."""
    file = prepare_corpus(cache)
    texts = [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]
    held = held_passages(cache, lambda line: None)
    everything = set(documents(archives))
    assert len(texts) == len(set(texts))
    assert set(texts) == {text for text in everything if not held.shared(text)}
    assert 0 < len(texts) < len(everything)
    assert any("It is a whale." in text for text in texts)


def test_long_texts_are_cut_between_sentences() -> None:
    """Documents have about 150 words, lose none, and only a very long sentence is cut inside."""
    text = " ".join(f"Sentence {n} has words." for n in range(200)) + " on" * 500
    runs = list(corpus._runs(text))
    assert " ".join(runs) == text
    assert all(len(run.split()) <= 300 for run in runs)
    assert all(run.endswith(".") for run in runs[:4])
    assert list(corpus._runs("Two words")) == []


def test_instruction_rows_are_of_many_other_tasks(archives: dict[str, Path], cache: Path) -> None:
    """Training can read them; they have several wordings, no study question, and no answer by place."""
    file = prepare_instruct(cache)
    rows = read_examples(file)
    held = held_passages(cache, lambda line: None)
    assert not any(held.shared(row.question) for row in rows)
    assert len({row.question for row in rows}) == len(rows)
    assert all(len(set(row.choices)) == len(row.choices) == 4 for row in rows)
    places = [sum(row.label == place for row in rows) / len(rows) for place in range(4)]
    assert max(places) < 0.26
    study = {task.name for task in MATERIALS["miniature"].tasks}
    assert not study & {task.__name__ for task in instruct.TASKS}
    for task in instruct.TASKS:
        items = task(archives)
        assert majority(items) < 0.6, task.__name__
        assert len({item.question.splitlines()[-1] for item in items}) > 1, task.__name__


def test_instruction_answers_are_right(archives: dict[str, Path]) -> None:
    """Plurals, past tenses, syllables and capitals are those of the tables."""
    found = {item.question: item.answer for item in all_rows(archives)}
    plurals = {q: a for q, a in found.items() if q.startswith("Noun: ")}
    assert plurals
    assert all(answer == question[6:].split("\n")[0] + "s" for question, answer in plurals.items())
    past = {q: a for q, a in found.items() if q.startswith("Verb: ")}
    assert past
    assert all(answer == question[6:].split("\n")[0] + "ed" for question, answer in past.items())
    assert found["What is the capital of Land 11?\nAnswer:"] == "City 11"
    assert found["On which continent is Land 11?\nAnswer:"] == "America"


def test_text_is_made_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call builds nothing and gives the same file."""
    corpus_file, rows = prepare_corpus(cache), prepare_instruct(cache)
    monkeypatch.setattr(build, "fetch", None)
    assert prepare_corpus(cache) == corpus_file
    assert prepare_instruct(cache) == rows
