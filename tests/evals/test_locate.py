"""Where the data of a suite comes from: folders, material, local copies; and which tasks are kept."""

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


@pytest.mark.parametrize("there", [{"dataset_path": "FOLDER"}, {"dataset_path": "csv"}])
def test_rows_that_lie_here_are_named_file_by_file(tmp_path: Path, there: dict[str, str]) -> None:
    """A definition that finds rows on this machine by itself is refused: nobody would see them change."""
    there = {key: value.replace("FOLDER", str(tmp_path)) for key, value in there.items()}
    suite = load(tmp_path, definition={**CHOICE, **there}, data=None)
    with pytest.raises(ConfigError, match="go unseen") as caught:
        locate_data(suite)
    assert caught.value.where.endswith("categories.choice[0]") and "data:" in caught.value.expected
    assert locate_data(load(tmp_path, definition={**CHOICE, "dataset_path": "nobody/nothing"}, data=None))


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
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **{"definition": HUB, "data": None, **keys})
    assert caught.value.where.endswith(where)


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
