"""Suite files: read whole, refused with the place and the nearest name."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from evals.suites import LeftOut, Suite, load_suite, locate_data, select_tasks
from pipeline.errors import ConfigError, InputError
from tests.helpers.tasks import CHOICE, choice_rows, choice_task, write_rows, write_suite


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


@pytest.mark.parametrize(
    ("keys", "where", "hint"),
    [
        ({"shot": 2}, "categories.choice[0].shot", '"shots"'),
        ({"metric": "ac"}, "categories.choice[0].metric", '"acc"'),
        ({"metric": "acc,strict"}, "categories.choice[0].metric", "none"),
        ({"metric": None}, "categories.choice[0]", ""),
        ({"chance": None}, "categories.choice[0].chance", ""),
        ({"chance": "half"}, "categories.choice[0].chance", ""),
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


@pytest.mark.parametrize("text", ["name: a\nname: b\n", "[1, 2]", "a: [", "1: x\n"])
def test_bad_yaml_is_refused(tmp_path: Path, text: str) -> None:
    """A key twice, no mapping, broken YAML and keys that are no text are ConfigErrors that name the file."""
    (tmp_path / "suite.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_suite(tmp_path / "suite.yaml")
    assert caught.value.where == str(tmp_path / "suite.yaml")


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


def test_data_starts_where_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative data paths start at --data, else at the suite's data_dir, else at the suite's folder."""
    for place in ("given", "own", "."):
        write_rows(tmp_path / place / "t.jsonl", choice_rows(1))
    entries = {"choice": [choice_task(data={"test": "t.jsonl"})]}
    monkeypatch.setenv("MERGESCALE_TEST_PLACE", "own")
    path = write_suite(tmp_path / "suite.yaml", entries, data_dir="${MERGESCALE_TEST_PLACE}")
    plain = write_suite(tmp_path / "plain.yaml", entries)

    def found(suite: Path, data_dir: Path | None = None) -> str:
        return locate_data(load_suite(suite), data_dir).tasks[0].data[0][1][0]

    assert found(path, tmp_path / "given") == str(tmp_path / "given" / "t.jsonl")
    assert found(path) == str(tmp_path / "own" / "t.jsonl")
    assert found(plain) == str(tmp_path / "t.jsonl")


def test_missing_data_is_named(tmp_path: Path) -> None:
    """A suite loads without its data; locating it names in one error every file that is not there."""
    write_rows(tmp_path / "there.jsonl", choice_rows(1))
    entries = [
        choice_task("one", data={"test": "there.jsonl"}),
        choice_task("two", data={"test": "gone.jsonl", "train": "there.jsonl"}),
        choice_task("three", data={"test": ["there.jsonl", "lost.jsonl"]}),
    ]
    suite = load_suite(write_suite(tmp_path / "suite.yaml", {"choice": entries}))
    with pytest.raises(InputError) as caught:
        locate_data(suite)
    error = caught.value
    assert error.where == str(tmp_path / "suite.yaml")
    assert error.expected == f"two: {tmp_path / 'gone.jsonl'}; three: {tmp_path / 'lost.jsonl'}"
    assert error.found == "data of 1 of 3 tasks"
    assert "--data" in error.hint and "--skip-missing" in error.hint


def test_tasks_without_their_data_can_be_skipped(tmp_path: Path) -> None:
    """With `skip_missing` tasks without data are taken off and named; a suite with none left is refused."""
    write_rows(tmp_path / "there.jsonl", choice_rows(1))
    entries = [choice_task("one", data={"test": "there.jsonl"}), choice_task("two")]
    suite = locate_data(load_suite(write_suite(tmp_path / "s.yaml", {"a": entries})), skip_missing=True)
    assert [task.name for task in suite.tasks] == ["one"]
    files = tuple(str(tmp_path / "data" / f"{split}.jsonl") for split in ("test", "train"))
    assert suite.left_out == (LeftOut("two", files),)
    none = load_suite(write_suite(tmp_path / "none.yaml", {"a": entries[1:]}))
    with pytest.raises(InputError) as caught:
        locate_data(none, skip_missing=True)
    assert "--skip-missing" not in caught.value.hint


HUB = {**CHOICE, "dataset_path": "hub/name", "dataset_kwargs": {"revision": "x"}, "validation_split": "dev"}


def test_local_files_stand_in_only_where_data_is_given(tmp_path: Path) -> None:
    """A task with `local` runs on its hub data set as defined; with a data folder, on the files in it."""
    write_rows(tmp_path / "copies" / "mine.jsonl", choice_rows(1))
    keys = {"definition": HUB, "data": None, "local": {"other": "mine.jsonl"}}
    suite = load(tmp_path, **keys, override_local={"test_split": "other", "num_fewshot": 0})
    asis = locate_data(suite).tasks[0]
    assert asis.definition == HUB and asis.data == () and asis.local is None
    local = locate_data(suite, tmp_path / "copies").tasks[0]
    kept = {key: CHOICE[key] for key in CHOICE if not key.endswith("_split")}
    assert local.definition == {**kept, "test_split": "other", "num_fewshot": 0}
    assert local.data == (("other", (str(tmp_path / "copies" / "mine.jsonl"),)),)
    assert local.local is None


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"local": {"train": "t.jsonl"}}, "categories.choice[0]"),
        ({"local": "t.jsonl"}, "categories.choice[0].local"),
        ({"local": {"test": "t.xlsx"}}, "categories.choice[0].local"),
        ({"local": {"test": "t.jsonl"}, "shots": 2}, "categories.choice[0].shots"),
        ({"local": {"test": "t.jsonl"}, "data": {"test": "t.jsonl"}}, "categories.choice[0].local"),
        ({"override_local": {"test_split": "dev"}}, "categories.choice[0].override_local"),
        (
            {"local": {"test": "t.jsonl"}, "override_local": {"metric_list": [{"metric": "f1"}]}},
            "categories.choice[0].metric",
        ),
    ],
)
def test_wrong_local_files_are_refused_with_their_place(
    tmp_path: Path, keys: dict[str, Any], where: str
) -> None:
    """What local copies could not serve is a ConfigError when the suite is read."""
    assert refused(tmp_path, **{"definition": HUB, "data": None, **keys}).where.endswith(where)


def test_material_is_prepared_unless_data_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite's material is made ready and served from where it lies, unless a data folder is given."""
    for place in ("made", "given"):
        write_rows(tmp_path / place / "t.jsonl", choice_rows(1))
    entries = {"choice": [choice_task(data={"test": "t.jsonl"})]}
    path = write_suite(tmp_path / "suite.yaml", entries, material="sheep")
    said: list[str] = []

    def prepare_material(name: str, cache: Path | None = None, report: Any = None) -> Path:
        report(f"making {name}")
        return tmp_path / "made"

    stub = ModuleType("evals.material")
    stub.prepare_material = prepare_material  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "evals.material", stub)
    given = locate_data(load_suite(path), tmp_path / "given", report=said.append)
    assert given.tasks[0].data[0][1] == (str(tmp_path / "given" / "t.jsonl"),) and not said
    made = locate_data(load_suite(path), report=said.append)
    assert made.tasks[0].data[0][1] == (str(tmp_path / "made" / "t.jsonl"),)
    assert said == ["making sheep"]


def test_tasks_are_selected_by_name(tmp_path: Path) -> None:
    """Named tasks are kept in file order, suites without any dropped, an unknown name gets the nearest."""
    both = [
        load_suite(write_suite(tmp_path / "a.yaml", {"x": [choice_task("one"), choice_task("two")]})),
        load_suite(write_suite(tmp_path / "b.yaml", {"x": [choice_task("three")]})),
    ]
    names = [[task.name for task in suite.tasks] for suite in select_tasks(both, ["three", "two"])]
    assert names == [["two"], ["three"]]
    assert [suite.name for suite in select_tasks(both, ["three"])] == ["b"]
    with pytest.raises(InputError) as caught:
        select_tasks(both, ["one", "thre"])
    assert '"three"' in caught.value.hint and caught.value.found == "thre"


def test_an_unset_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path with a variable that is not set is a ConfigError that names it, only when data is located."""
    monkeypatch.delenv("MERGESCALE_TEST_PLACE", raising=False)
    suite = load(tmp_path, data={"test": "${MERGESCALE_TEST_PLACE}/t.jsonl"})
    with pytest.raises(ConfigError) as caught:
        locate_data(suite)
    assert "MERGESCALE_TEST_PLACE" in caught.value.what


SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "suites").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_suites_load_without_their_data(path: Path) -> None:
    """Every suite that we ship loads strictly, is named as its file, and opens with what it is for."""
    suite = load_suite(path)
    assert suite.name == path.stem and suite.tasks
    assert path.read_text().startswith("#")
