"""Suite tasks as lm-eval's own: why one cannot be loaded is said so that its user can mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml

from cluster.retry import classify
from evals.harness import check_task
from evals.harness.scoring import score
from evals.models import baseline_model
from evals.setting import Setting
from evals.suites import load_suite, locate_data
from evals.task import Task
from pipeline.errors import ConfigError, InputError
from tests.helpers.tasks import CHOICE, FREE, choice_rows, choice_task, write_rows, write_suite


def only_task(folder: Path, **entry: Any) -> Task:
    """The one task of a suite in `folder`, located."""
    return locate_data(
        load_suite(write_suite(folder / "suite.yaml", {"choice": [choice_task(**entry)]}))
    ).tasks[0]


def test_a_hub_out_of_reach_is_no_machines_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that cannot be fetched is an InputError about --data, which no executor tries again."""

    def load_dataset(*_: Any, **__: Any) -> Any:
        raise ConnectionError("Couldn't reach 'nobody/nothing' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    task = only_task(tmp_path, definition={**CHOICE, "dataset_path": "nobody/nothing"}, data=None)
    with pytest.raises(InputError, match="cannot be fetched") as caught:
        check_task(task)
    assert "--data" in caught.value.hint and "nobody/nothing" in caught.value.found
    assert classify(caught.value) == "program"


def test_rows_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    """A damaged data file is a ConfigError with the reader's own reason, not only that there was one."""
    (tmp_path / "rows.jsonl").write_text("hello\n")
    with pytest.raises(ConfigError, match="cannot load") as caught:
        check_task(only_task(tmp_path, data={"test": "rows.jsonl"}))
    assert "JSON parse error" in caught.value.found


@pytest.mark.parametrize("number", [0, 2])
def test_a_target_that_is_no_choice_is_named(tmp_path: Path, number: int) -> None:
    """A label beyond a row's choices is an InputError with file, row and column, whichever row it is."""
    rows = choice_rows(4)
    rows[number]["label"] = 5
    file = write_rows(tmp_path / "rows.jsonl", rows)
    with pytest.raises(InputError, match="no such choice") as caught:
        check_task(only_task(tmp_path, data={"test": "rows.jsonl"}))
    assert caught.value.where == f"{file}: row {number + 1}"
    assert caught.value.found.startswith("doc_to_target: label: ")
    if number:
        assert "5, of 3 choices" in caught.value.found


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_shot_that_has_no_such_choice_is_named(tmp_path: Path, split: str) -> None:
    """A bad row among those of the shots is an InputError with task, split and row, if there are shots."""
    test = write_rows(tmp_path / "test.jsonl", choice_rows(4))
    rows = choice_rows(5, seed=1)
    rows[3]["label"] = 7
    file = write_rows(tmp_path / f"{split}.jsonl", rows)
    definition = {**CHOICE, "training_split": None, "validation_split": None}
    definition |= {"training_split": split} if split == "train" else {"fewshot_split": split}
    entry = {"definition": definition, "data": {"test": test.name, split: file.name}}
    assert check_task(only_task(tmp_path, **entry)).items == 4
    with pytest.raises(InputError, match="no such choice") as caught:
        check_task(only_task(tmp_path, **entry, shots=2))
    assert f'"pick", split {split},' in caught.value.what and caught.value.where == f"{file}: row 4"
    assert "7, of 3 choices" in caught.value.found


def test_no_bar_is_drawn_for_rows_that_are_filtered(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A definition that filters its rows leaves nothing on the screen."""
    write_rows(tmp_path / "rows.jsonl", choice_rows(8))
    (tmp_path / "task.yaml").write_text(
        "include: base.yaml\nprocess_docs: !function evals.rows.labelled\n", encoding="utf-8"
    )
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(CHOICE), encoding="utf-8")
    facts = check_task(only_task(tmp_path, definition="task.yaml", data={"test": "rows.jsonl"}))
    assert facts.items == 8
    captured = capfd.readouterr()
    assert "examples/s" not in captured.err + captured.out


@pytest.mark.parametrize("how", ["column", "template", "text"])
@pytest.mark.parametrize("number", [0, 2])
def test_a_hidden_label_is_refused_with_its_row(tmp_path: Path, how: str, number: int) -> None:
    """A label of -1, as test sets without labels have, or a text that is no choice, is no wrong answer: the
    row is named, before any model.
    """
    rows = choice_rows(4)
    rows[number]["label"] = "w99" if how == "text" else -1
    for row in rows:
        if how == "text" and row["label"] != "w99":
            row["label"] = row["choices"][row["label"]]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    target = "{{label}}" if how == "template" else "label"
    definition = {**CHOICE, "doc_to_target": target}
    with pytest.raises(InputError, match="no such choice") as caught:
        check_task(only_task(tmp_path, definition=definition, data={"test": "rows.jsonl"}))
    assert caught.value.where == f"{file}: row {number + 1}"
    assert ("w99" if how == "text" else "-1") in caught.value.found


def test_a_shot_with_a_hidden_label_is_named(tmp_path: Path) -> None:
    """A shot whose label is -1 would show the last choice as right: the row is named."""
    write_rows(tmp_path / "test.jsonl", choice_rows(4))
    rows = choice_rows(5, seed=1)
    rows[3]["label"] = -1
    file = write_rows(tmp_path / "train.jsonl", rows)
    with pytest.raises(InputError, match="no such choice") as caught:
        check_task(only_task(tmp_path, data={"test": "test.jsonl", "train": "train.jsonl"}, shots=2))
    assert caught.value.where == f"{file}: row 4"


def test_a_task_that_runs_what_models_write_is_refused_first(tmp_path: Path) -> None:
    """A definition with unsafe_code is a ConfigError when the suite is made ready, before anything runs."""
    write_rows(tmp_path / "rows.jsonl", choice_rows(2))
    with pytest.raises(ConfigError, match="unsafe_code") as caught:
        only_task(tmp_path, definition={**CHOICE, "unsafe_code": True}, data={"test": "rows.jsonl"})
    assert caught.value.where.endswith("suite.yaml: categories.choice[0]") and caught.value.hint


@pytest.mark.parametrize(
    "template",
    [
        "{{ cycler.__init__.__globals__.os.system('touch PLACE') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ lipsum.__globals__['os'].popen('touch PLACE').read() }}",
    ],
)
def test_a_template_runs_no_code(tmp_path: Path, template: str) -> None:
    """A template of a definition reaches no module of Python: it is refused, and nothing was run."""
    write_rows(tmp_path / "rows.jsonl", choice_rows(2))
    place = tmp_path / "touched"
    definition = {**CHOICE, "doc_to_text": template.replace("PLACE", str(place))}
    with pytest.raises(ConfigError) as caught:
        check_task(only_task(tmp_path, definition=definition, data={"test": "rows.jsonl"}))
    assert "unsafe" in caught.value.found and not place.exists()


def _of_several_names(folder: Path, metric: str) -> Task:
    """A task with a metric function that gives pass@1 and pass@2."""
    write_rows(folder / "rows.jsonl", choice_rows(3, seed=1))
    (folder / "several.py").write_text(
        "def score(references, predictions, k=()):\n"
        "    return {f'pass@{one}': float(references == predictions) for one in k}\n"
    )
    definition = {**FREE, "training_split": None, "validation_split": None}
    written = yaml.safe_dump({key: value for key, value in definition.items() if key != "metric_list"})
    entry = "metric_list: [{metric: !function several.score, aggregation: mean, "
    entry += "higher_is_better: true, k: [1, 2]}]"
    (folder / "task.yaml").write_text(f"{written}{entry}\n")
    return only_task(folder, definition="task.yaml", data={"test": "rows.jsonl"}, metric=metric)


def test_a_metric_function_may_give_names_of_its_own(tmp_path: Path) -> None:
    """A name that a metric function gives can be asked for, in the function's direction."""
    task = _of_several_names(tmp_path, "pass@2")
    assert task.higher_is_better and check_task(task).items == 3
    record = score(baseline_model("majority"), task, Setting())
    assert record.metric == "pass@2,strip" and record.n == 3 and 0 <= record.value <= 1


@pytest.mark.parametrize("metric", ["pass@3", "score"])
def test_a_name_that_no_metric_function_gives_is_refused(tmp_path: Path, metric: str) -> None:
    """It is refused before a model answers, the function's own name too, with the names that there are."""
    with pytest.raises(ConfigError) as caught:
        check_task(_of_several_names(tmp_path, metric))
    assert caught.value.expected == "pass@1 or pass@2"
