"""Shared by the tests of the evals wing: one tiny model and suite for the whole session, and no network."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from evals.suites import Suite, load_suite, locate_data
from evals.task import Task
from tests.helpers.models import write_model
from tests.helpers.tasks import (
    CHOICE,
    FREE,
    ROLLING,
    SURPRISE,
    choice_rows,
    choice_task,
    write_rows,
    write_suite,
)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, data and the suite `toy.yaml`; tests must not change what is in it."""
    folder = tmp_path_factory.mktemp("evals")
    write_model(folder / "base", seed=1, vocab=64, hidden=32, tokenizer=True)
    write_model(folder / "expert", seed=2, base=folder / "base", delta=0.05)
    write_rows(folder / "data" / "test.jsonl", choice_rows(24, seed=1))
    write_rows(folder / "data" / "train.jsonl", choice_rows(10, seed=2))
    entries = {
        "choice": [
            choice_task("pick", definition=CHOICE),
            choice_task("shots", metric="acc_norm", shots=2),
        ],
        "words": [
            {
                **choice_task("free", definition=FREE, data={"test": "data/test.jsonl"}),
                "metric": "exact_match",
            },
            {
                **choice_task("surprise", definition=SURPRISE, data={"test": "data/test.jsonl"}),
                "metric": "perplexity",
                "chance": None,
            },
            {
                **choice_task("rolling", definition=ROLLING, data={"test": "data/test.jsonl"}),
                "metric": "word_perplexity",
                "chance": None,
            },
        ],
    }
    write_suite(folder / "toy.yaml", entries)
    return folder


@pytest.fixture(scope="session")
def suite(home: Path) -> Suite:
    """The suite of `home` with its data located."""
    return locate_data(load_suite(home / "toy.yaml"))


@pytest.fixture
def own(home: Path, tmp_path: Path) -> Path:
    """A copy of the session's folder that a test may change."""
    return shutil.copytree(home, tmp_path / "own")


@pytest.fixture
def tasks(own: Path) -> tuple[Task, ...]:
    """The first two tasks of the copied suite, located."""
    return locate_data(load_suite(own / "toy.yaml")).tasks[:2]
