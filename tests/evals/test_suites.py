"""Suite files: read whole, refused with the place and the nearest name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evals.suites import Suite, load_suite
from pipeline.errors import ConfigError
from tests.helpers.tasks import CHOICE, choice_task, write_suite


def load(tmp_path: Path, **keys: Any) -> Suite:
    """A suite of one task whose entry has these keys on top of a good one."""
    return load_suite(write_suite(tmp_path / "suite.yaml", {"choice": [choice_task(**keys)]}))


def refused(tmp_path: Path, **keys: Any) -> ConfigError:
    """The error that a task entry with these keys gives."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **keys)
    return caught.value


def test_a_suite_says_what_its_file_says(tmp_path: Path) -> None:
    """Every key of a suite file arrives in the suite, in file order."""
    entries = {
        "choice": [choice_task("one", limit=7), choice_task("two", shots=3, metric="acc_norm", chance=None)],
        "more": [choice_task("three")],
    }
    entries["choice"][1]["chance"] = None
    suite = load_suite(write_suite(tmp_path / "toy.yaml", entries, role="held-out", data_dir="somewhere"))
    assert (suite.name, suite.role, suite.data_dir) == ("toy", "held-out", "somewhere")
    assert [task.name for task in suite.tasks] == ["one", "two", "three"]
    assert {name: len(tasks) for name, tasks in suite.categories.items()} == {"choice": 2, "more": 1}
    one, two, _ = suite.tasks
    assert (one.limit, one.shots, one.metric, one.chance, one.version) == (7, 0, "acc", 0.333, "1.0")
    assert (two.limit, two.shots, two.metric, two.chance) == (None, 3, "acc_norm", None)
    assert (one.suite, one.role, one.category, one.filter) == ("toy", "held-out", "choice", "none")
    assert one.higher_is_better, "taken from the definition's metric_list"


def test_shots_are_the_definitions_own_unless_said(tmp_path: Path) -> None:
    """A definition with `num_fewshot` gets as many examples as lm-eval gives it; `shots` overrules it."""
    definition = {**CHOICE, "num_fewshot": 5}
    entries = [
        choice_task("as_is", definition=definition),
        choice_task("none", definition=definition, shots=0),
    ]
    suite = load_suite(write_suite(tmp_path / "toy.yaml", {"choice": entries}))
    assert [task.shots for task in suite.tasks] == [5, 0]


@pytest.mark.parametrize(
    ("keys", "where", "hint"),
    [
        ({"shot": 2}, "categories.choice[0].shot", '"shots"'),
        ({"metric": "ac"}, "categories.choice[0].metric", '"acc"'),
        ({"metric": "acc,strict"}, "categories.choice[0].metric", "none"),
        ({"metric": None}, "categories.choice[0]", ""),
        ({"chance": None}, "categories.choice[0].chance", ""),
        ({"chance": "half"}, "categories.choice[0].chance", ""),
        ({"chance": float("nan")}, "categories.choice[0].chance", ""),
        ({"limit": 0}, "categories.choice[0].limit", ""),
        ({"limit": 2.5}, "categories.choice[0].limit", ""),
        ({"limit": True}, "categories.choice[0].limit", ""),
        ({"shots": -1}, "categories.choice[0].shots", ""),
        ({"shots": 2, "data": {"test": "t.jsonl"}}, "categories.choice[0].shots", ""),
        ({"data": {"train": "t.jsonl"}}, "categories.choice[0]", ""),
        ({"data": {"test": "t.xlsx"}}, "categories.choice[0].data", ""),
        ({"data": {"test": "t.csv", "train": "t.jsonl"}}, "categories.choice[0].data", ""),
        ({"data": ["t.jsonl"]}, "categories.choice[0].data", ""),
        ({"definition": None}, "categories.choice[0]", ""),
        ({"bundled": "hellaswag"}, "categories.choice[0]", ""),
        ({"definition": "gone.yaml"}, "gone.yaml", ""),
        ({"task": "a b"}, "categories.choice[0].task", ""),
        ({"higher_is_better": False}, "categories.choice[0].higher_is_better", ""),
        ({"definition": {**CHOICE, "include": "x.yaml"}}, "categories.choice[0].definition", "bundled"),
    ],
)
def test_a_wrong_task_is_refused_with_its_place(
    tmp_path: Path, keys: dict[str, Any], where: str, hint: str
) -> None:
    """Each mistake in a task entry is a ConfigError that names file and path, and a near name if any."""
    error = refused(tmp_path, **keys)
    assert error.where.endswith(where), error
    assert str(tmp_path) in error.where
    assert hint in error.hint, error


@pytest.mark.parametrize(
    ("top", "where"),
    [
        ({"role": "heldin"}, "role"),
        ({"nmae": "x"}, "nmae"),
        ({"name": "two words"}, "name"),
        ({"data_dir": 3}, "data_dir"),
        ({"data_dir": "x", "material": "y"}, "material"),
    ],
)
def test_a_wrong_head_is_refused(tmp_path: Path, top: dict[str, Any], where: str) -> None:
    """Each mistake above the categories is a ConfigError that names the key."""
    with pytest.raises(ConfigError) as caught:
        load_suite(write_suite(tmp_path / "suite.yaml", {"choice": [choice_task()]}, **top))
    assert caught.value.where == f"{tmp_path / 'suite.yaml'}: {where}"


@pytest.mark.parametrize("categories", [{}, {"empty": []}])
def test_nothing_to_measure_is_refused(tmp_path: Path, categories: dict[str, list[Any]]) -> None:
    """A suite without a task, or a category without one, is no suite."""
    with pytest.raises(ConfigError):
        load_suite(write_suite(tmp_path / "suite.yaml", categories))


def test_one_name_is_one_task(tmp_path: Path) -> None:
    """Two tasks of one name are refused, in different categories too."""
    with pytest.raises(ConfigError) as caught:
        load_suite(write_suite(tmp_path / "suite.yaml", {"a": [choice_task()], "b": [choice_task()]}))
    assert caught.value.where.endswith("categories.b[0].task")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("name: a\nname: b\n", ": line 2, column 1"),
        ("[1, 2]", ""),
        ("a: [", ": line 1, column 5"),
        ("1: x\n", ": 1"),
        ("name: a\nrole: held-in\ncategories: {1: [x]}", ": categories"),
        ("name: a\nrole: held-in\ncategories: {x: [1]}", ": categories.x[0]"),
    ],
)
def test_bad_yaml_is_refused(tmp_path: Path, text: str, place: str) -> None:
    """A key twice, no mapping, broken YAML and keys that are no text are ConfigErrors that name the place."""
    (tmp_path / "suite.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_suite(tmp_path / "suite.yaml")
    assert caught.value.where == f"{tmp_path / 'suite.yaml'}{place}"


def test_several_filters_must_be_chosen_from(tmp_path: Path) -> None:
    """A task with several filters needs the metric's filter named; with one, it is taken."""
    definition = {
        **CHOICE,
        "filter_list": [{"name": "strict", "filter": []}, {"name": "loose", "filter": []}],
    }
    assert "loose" in refused(tmp_path, definition=definition).hint
    task = load(tmp_path, definition=definition, metric="acc,loose").tasks[0]
    assert (task.metric, task.filter) == ("acc", "loose")
    single = {**CHOICE, "filter_list": [{"name": "only", "filter": []}]}
    assert load(tmp_path, definition=single).tasks[0].filter == "only"


def test_direction_must_be_known(tmp_path: Path) -> None:
    """Where neither definition nor lm-eval says whether more is better, the suite has to."""
    definition = {**CHOICE, "metric_list": [{"metric": "delight"}, {"metric": "perplexity"}]}
    assert refused(tmp_path, definition=definition, metric="delight").where.endswith("higher_is_better")
    said = load(tmp_path, definition=definition, metric="delight", higher_is_better=True)
    assert said.tasks[0].higher_is_better
    assert not load(tmp_path, definition=definition, metric="perplexity").tasks[0].higher_is_better


def test_splits_without_data_are_taken_off(tmp_path: Path) -> None:
    """With `data`, a split that the definition names and `data` lacks is gone, and so is the old data set."""
    definition = {**CHOICE, "dataset_path": "hub/name", "dataset_name": "x"}
    task = load(tmp_path, definition=definition, data={"test": "t.jsonl"}).tasks[0]
    assert "training_split" not in task.definition and "dataset_path" not in task.definition
    assert task.definition["test_split"] == "test"
    assert task.data == (("test", ("t.jsonl",)),)


def test_a_definition_brings_its_own_files(tmp_path: Path) -> None:
    """`data_files` inside a definition are data like any other: located and digested."""
    definition = {**CHOICE, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "t.jsonl"}}}
    task = load(tmp_path, definition=definition, data=None).tasks[0]
    assert task.data == (("test", ("t.jsonl",)),)
    assert "dataset_kwargs" not in task.definition


SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "suites").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_suites_load_without_their_data(path: Path) -> None:
    """Every suite that we ship loads strictly, is named as its file, and opens with what it is for."""
    suite = load_suite(path)
    assert suite.name == path.stem and suite.tasks
    assert path.read_text().startswith("#")
