"""The t0 suites: every data set of the study asks what it should, on the hub's columns and on real copies."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from evals.content import Digests, task_digest
from evals.harness import evaluate_model
from evals.harness.parts import requests_of
from evals.harness.tasks import load_task
from evals.rows import hold_out
from evals.setting import Setting
from evals.suites import Suite, load_suite, locate_data, select_tasks
from evals.task import Task
from tests.helpers.t0_rows import SHOWN, write_copies
from tests.helpers.tasks import write_rows
from tests.helpers.text_models import write_text_model

ROOT = Path(__file__).parents[2]
SUITES = {role: load_suite(ROOT / f"configs/suites/t0-{role}.yaml") for role in ("held-in", "held-out")}
NAMES = [task.name for suite in SUITES.values() for task in suite.tasks]
COPIES = Path(os.environ.get("MERGESCALE_T0_DATA", ROOT.parent / "shared" / "data" / "t0"))
#: The data sets of the scaling study by category.
PAPER = {
    "multiple-choice-qa": {"dream", "cosmos_qa"},
    "extractive-qa": {"adversarial_qa", "ropes"},
    "closed-book-qa": {"hotpot_qa", "wiki_qa"},
    "sentiment": {"app_reviews", "imdb"},
    "topic-classification": {"ag_news", "dbpedia_14"},
    "structure-to-text": {"common_gen", "wiki_bio"},
    "summarisation": {"cnn_dailymail", "xsum"},
    "paraphrase": {"mrpc", "qqp"},
    "sentence-completion": {"copa", "hellaswag"},
    "nli": {"anli_r1", "anli_r2", "anli_r3", "rte"},
    "coreference": {"wsc", "winogrande"},
    "word-sense": {"wic"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model that reads any text."""
    return write_text_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    """Every task of both suites on invented rows, by name."""
    folder = tmp_path_factory.mktemp("copies")
    located = [locate_data(suite, write_copies(suite, folder)) for suite in SUITES.values()]
    return {task.name: task for suite in located for task in suite.tasks}


def loaded(task: Task) -> Any:
    """The task as lm-eval holds it."""
    return load_task(task, task_digest(task, Digests()))


def test_the_suites_hold_the_studys_sets() -> None:
    """Every category of the study is there under its role, with the study's data sets in it."""
    held_in, held_out = SUITES["held-in"].categories, SUITES["held-out"].categories
    assert [*held_in, *held_out] == list(PAPER) and (len(held_in), len(held_out)) == (8, 4)
    for category, tasks in {**held_in, **held_out}.items():
        assert PAPER[category] <= {task.name for task in tasks}
    assert len(set(NAMES)) == len(NAMES) and set(NAMES) == set(SHOWN)


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_each_task_is_ready_for_the_hub_and_for_copies(suite: Suite) -> None:
    """A task names a hub data set with its owner, has local stand-ins and a limit; held-in, training rows."""
    for task in suite.tasks:
        source = task.definition.get("dataset_path") or task.definition["dataset_kwargs"]["path"]
        assert source.count("/") == 1 and not task.data, task.name
        assert task.local is not None and "dataset_path" not in task.local.definition, task.name
        assert task.shots == 0 and task.limit is not None and task.limit <= 500, task.name
        for definition in (task.definition, task.local.definition):
            assert "doc_to_target" in definition, task.name
            if suite.role == "held-in":
                assert definition["training_split"] == "train", task.name


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_without_copies_every_task_asks_the_hub(suite: Suite) -> None:
    """With no folder of copies nothing has to lie here: all tasks are located, on no files."""
    located = locate_data(suite)
    assert [task.name for task in located.tasks] == [task.name for task in suite.tasks]
    assert not any(task.data for task in located.tasks)


@pytest.mark.parametrize("name", NAMES)
def test_the_right_answer_to_the_right_question_scores_one(invented: dict[str, Task], name: str) -> None:
    """On the hub's columns the prompt is the one written here, and the answer written here is right."""
    task, (_, prompt, answer) = loaded(invented[name]), SHOWN[name]
    requests = requests_of(task, limit=1)
    assert not prompt.endswith(" ")
    if "generate_until" in requests:
        (request,) = requests["generate_until"]
        assert request.args[0] == prompt
        assert task.doc_to_target(request.doc) == answer
        results: list[Any] = [f" {answer}"]
    else:
        right = [request.args == (prompt, f" {answer}") for request in requests["loglikelihood"]]
        assert sum(right) == 1, [request.args for request in requests["loglikelihood"]]
        results = [(0.0, True) if one else (-99.0, False) for one in right]
        request = requests["loglikelihood"][0]
    assert task.process_results(request.doc, results)[invented[name].metric] == 1.0


@pytest.mark.filterwarnings("ignore:F-score is ill-defined")  # lm-eval's second metric, of two equal rows
@pytest.mark.parametrize("name", NAMES)
def test_every_task_is_scored_on_the_hubs_columns(model: Path, invented: dict[str, Task], name: str) -> None:
    """Each task runs from definition to record on rows in its hub schema, by its own metric, item by item."""
    record = evaluate_model(model, [invented[name]], Setting())[0]
    assert record.n == len(record.items) == 2 and record.items[0] == record.items[1]
    assert math.isfinite(record.value) and record.truncated == 0
    assert record.metric == invented[name].metric


def test_sorted_sets_are_shuffled_and_unlabelled_rows_left_out(tmp_path: Path) -> None:
    """Sets sorted by class show every class early; rows without a label and wrong candidates are no items."""
    rows = {
        "imdb": [{"text": str(i), "label": int(i >= 50)} for i in range(100)],
        "snli": [{**SHOWN["snli"][0], "label": label} for label in (-1, 0, 2)],
        "wiki_qa": [{**SHOWN["wiki_qa"][0], "label": label} for label in (0, 1, 0)],
    }
    for name in rows:
        for split in ("train", "validation", "test"):
            write_rows(tmp_path / name / f"{split}.jsonl", rows[name])
    suites = [locate_data(suite, tmp_path) for suite in select_tasks(list(SUITES.values()), list(rows))]
    docs = {task.name: list(loaded(task).eval_docs) for suite in suites for task in suite.tasks}
    assert 5 < sum(doc["label"] for doc in docs["imdb"][:20]) < 15
    assert [doc["label"] for doc in docs["snli"]] == [0, 2]
    assert [doc["label"] for doc in docs["wiki_qa"]] == [1]


def test_rows_held_out_of_one_split_are_apart_and_the_same_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set of one split is cut into training and test rows that share none, by a draw that never changes."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    write_rows(tmp_path / "rows" / "train.jsonl", [{"star": i} for i in range(50)])
    arguments = {"path": str(tmp_path / "rows"), "split": "train", "held_out": 10, "version": 1.0}
    first, second = (hold_out(**arguments) for _ in range(2))  # type: ignore[arg-type]
    train, test = first["train"]["star"], first["test"]["star"]
    assert len(test) == 10 and sorted([*train, *test]) == list(range(50))
    assert list(second["test"]["star"]) == list(test) != sorted(test)


@pytest.mark.skipif(not COPIES.is_dir(), reason="no folder of local copies: set MERGESCALE_T0_DATA to one")
def test_real_copies_are_scored(model: Path) -> None:
    """Every task whose real copies are there gives a finite score on its first four items."""
    located = [locate_data(suite, COPIES, skip_missing=True) for suite in SUITES.values()]
    tasks = [task for suite in located for task in suite.tasks]
    assert len(tasks) == sum((COPIES / name).is_dir() for name in NAMES) > 0
    for record in evaluate_model(model, tasks, Setting(limit=4)):
        assert record.n == len(record.items) == 4 and math.isfinite(record.value), record.task
        assert 0.0 <= record.value <= 1.0, record.task
