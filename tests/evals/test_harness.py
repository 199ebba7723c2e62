"""The harness: lm-eval's own numbers, item by item, whatever ran before in the same process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml

from evals.content import Digests
from evals.harness import Part, check_task, evaluate_model, score, score_part, score_together
from evals.harness.parts import joined
from evals.models import describe_model
from evals.record import Record
from evals.setting import Setting
from evals.suites import Suite, load_suite, locate_data
from evals.task import Task
from pipeline.errors import ConfigError
from tests.helpers.tasks import CHOICE, FREE, choice_rows, choice_task, write_rows, write_suite


def only(suite: Suite, name: str) -> Task:
    """The task of that name."""
    return next(task for task in suite.tasks if task.name == name)


def written_out(task: Task, path: Path) -> Path:
    """The task as a plain lm-eval YAML file, as one would write it for lm-eval's command line."""
    files = {split: names[0] for split, names in task.data}
    content = {"task": task.name, "dataset_path": "json", "dataset_kwargs": {"data_files": files}}
    path.write_text(yaml.safe_dump({**task.definition, **content}))
    return path


def by_lm_eval(model: Path, task: Task, folder: Path, **how: Any) -> dict[str, Any]:
    """What lm-eval's command line computes, without its table of thirteen thousand bundled tasks."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    answer = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(model), **how},
        tasks=[str(written_out(task, folder / f"{task.name}.yaml"))],
        task_manager=TaskManager(include_defaults=False),
        num_fewshot=task.shots or None,
        device="cpu",
        batch_size=8,
        bootstrap_iters=0 if "perplexity" in task.metric else 2,
    )
    found: dict[str, Any] = answer["results"][task.name]
    return found


@pytest.mark.parametrize("name", ["pick", "shots", "free", "surprise", "rolling"])
def test_scores_are_those_of_lm_eval(
    home: Path, suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """For every kind of task the score is lm-eval's own to the last digit, and so is its standard error."""
    task = only(suite, name)
    record = evaluate_model(home / "base", [task], Setting())[0]
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    theirs = by_lm_eval(home / "base", task, tmp_path)
    assert record.value == theirs[f"{task.metric},{task.filter}"]
    assert record.n == 24
    if name in ("surprise", "rolling"):
        assert record.stderr is not None and record.stderr > 0, "by bootstrap"
    else:
        assert record.stderr == pytest.approx(theirs[f"{task.metric}_stderr,{task.filter}"], rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pick", "shots", "free", "surprise", "rolling"])
def test_scores_are_those_of_lm_evals_command_line(
    home: Path, suite: Suite, tmp_path: Path, name: str
) -> None:
    """The command `lm_eval` in its own process writes the very same number.

    One task a run: lm-eval pads the requests of several tasks together, which changes the last digits.
    """
    task = only(suite, name)
    command = [Path(sys.executable).with_name("lm_eval"), "--model", "hf", "--device", "cpu"]
    command += ["--model_args", f"pretrained={home / 'base'}", "--batch_size", "8"]
    command += ["--tasks", str(written_out(task, tmp_path / f"{name}.yaml")), "--output_path", str(tmp_path)]
    command += ["--num_fewshot", str(task.shots)] if task.shots else []
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env=one_thread)
    written = json.loads(next(tmp_path.glob("*/results_*.json")).read_text())["results"][name]
    record = evaluate_model(home / "base", [task], Setting())[0]
    assert record.value == written[f"{task.metric},{task.filter}"]


def test_a_record_tells_how_it_came_about(home: Path, suite: Suite) -> None:
    """A record names model, task, settings, versions and machine, and its items make its score."""
    record = evaluate_model(home / "base", [only(suite, "pick")], Setting(limit=10))[0]
    assert (record.model, record.label, record.task) == (str(home / "base"), "base", "pick")
    assert (record.suite, record.role, record.category) == ("toy", "held-in", "choice")
    assert (record.limit, record.n, len(record.items), record.shots) == (10, 10, 10, 0)
    assert (record.metric, record.task_version, record.chance) == ("acc", "1.0", 0.333)
    assert record.value == fmean(record.items) and set(record.items) <= {0.0, 1.0}
    assert record.machine and record.lm_eval and record.mergescale and record.elapsed_s > 0


def test_a_limit_takes_the_first_items(home: Path, suite: Suite) -> None:
    """The items of a limited run are the first ones of the whole run; the lower of two limits holds."""
    task = only(suite, "pick")
    whole = evaluate_model(home / "base", [task], Setting())[0]
    some = evaluate_model(home / "base", [replace(task, limit=9)], Setting(limit=12))[0]
    assert some.items == whole.items[:9]
    assert evaluate_model(home / "base", [replace(task, limit=9)], Setting(limit=5))[0].limit == 5


@pytest.mark.parametrize("kind", ["choice", "max_gen_toks", "max_new_tokens"])
def test_items_that_lose_their_beginning_are_counted(home: Path, tmp_path: Path, kind: str) -> None:
    """An item is counted as truncated from the first token that the model has no room for."""
    # The model takes 64 tokens, a word is a token. Choices: the last token is asked for, not read: 65 fit.
    # Generation: two of the 64 are for the answer: 62 fit.
    fits = 64 if kind == "choice" else 62
    rows = [
        {"question": " ".join(["w5"] * count), "choices": ["w6", "w7"], "label": 0}
        for count in (3, fits, fits + 1, fits + 20)
    ]
    write_rows(tmp_path / "data" / "test.jsonl", rows)
    free = {**FREE, "generation_kwargs": {"until": ["\n"], kind: 2, "do_sample": False}}
    entry = choice_task(definition=CHOICE if kind == "choice" else free, data={"test": "data/test.jsonl"})
    entry["metric"] = "acc" if kind == "choice" else "exact_match"
    task = locate_data(load_suite(write_suite(tmp_path / "suite.yaml", {"a": [entry]}))).tasks[0]
    assert evaluate_model(home / "base", [task], Setting())[0].truncated == 2


def test_order_and_repetition_change_nothing(home: Path, suite: Suite) -> None:
    """A task with drawn examples scores the same when it runs again, after others and with a kept model."""

    def plain(record: Record) -> Record:
        return replace(record, elapsed_s=0.0)

    shots, pick = only(suite, "shots"), only(suite, "pick")
    first = evaluate_model(home / "base", [shots, pick], Setting())
    again = evaluate_model(home / "base", [pick, shots], Setting())
    assert [plain(one) for one in reversed(again)] == [plain(one) for one in first]
    other = evaluate_model(home / "expert", [shots], Setting())[0]
    assert other.model_digest != first[0].model_digest and other.items != first[0].items
    assert plain(evaluate_model(home / "base", [shots], Setting())[0]) == plain(first[0])


def test_changed_rows_are_never_read_from_a_cache(home: Path, tmp_path: Path) -> None:
    """New rows under the same name, size and time give the new rows' score, in the same process."""
    rows = choice_rows(12, seed=3)
    data = write_rows(tmp_path / "data" / "test.jsonl", rows)
    path = write_suite(tmp_path / "suite.yaml", {"choice": [choice_task(data={"test": "data/test.jsonl"})]})
    task = locate_data(load_suite(path)).tasks[0]
    before = evaluate_model(home / "base", [task], Setting())[0]
    stat = data.stat()
    write_rows(data, [{**row, "label": (row["label"] + 1) % 3} for row in rows])
    os.utime(data, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = evaluate_model(home / "base", [task], Setting())[0]
    assert data.stat().st_size == stat.st_size and data.stat().st_mtime_ns == stat.st_mtime_ns
    assert after.task_digest != before.task_digest
    assert all(not (new and old) for new, old in zip(after.items, before.items, strict=True))


def test_functions_beside_a_definition_run_and_follow_their_file(home: Path, tmp_path: Path) -> None:
    """A `!function` is found beside its YAML file, and a changed file is the changed function."""
    write_rows(tmp_path / "data" / "test.jsonl", choice_rows(12, seed=3))
    text = yaml.safe_dump({key: value for key, value in CHOICE.items() if key != "doc_to_target"})
    (tmp_path / "task.yaml").write_text(text + "doc_to_target: !function helper.target\n")
    entry = choice_task(definition="task.yaml", data={"test": "data/test.jsonl"})
    path = write_suite(tmp_path / "suite.yaml", {"choice": [entry]})
    scores = []
    for label in range(3):
        (tmp_path / "helper.py").write_text(f"def target(doc):\n    return {label}\n")
        task = locate_data(load_suite(path)).tasks[0]
        scores.append(evaluate_model(home / "base", [task], Setting())[0].items)
    assert [sum(column) for column in zip(*scores, strict=True)] == [1.0] * 12, "one label is right"


@pytest.mark.parametrize(
    "definition",
    [
        {**CHOICE, "doc_to_text": "{{nowhere.deep}}"},
        {**CHOICE, "doc_to_txt": "{{question}}"},
        {**CHOICE, "output_type": "telepathy"},
    ],
)
def test_a_task_that_cannot_run_is_refused_before_any_model(
    home: Path, tmp_path: Path, definition: dict[str, Any]
) -> None:
    """Columns, keys and kinds that lm-eval refuses are a ConfigError that names the suite's entry."""
    write_rows(tmp_path / "data" / "test.jsonl", choice_rows(2))
    entry = choice_task(definition=definition, data={"test": "data/test.jsonl"})
    task = locate_data(load_suite(write_suite(tmp_path / "suite.yaml", {"choice": [entry]}))).tasks[0]
    with pytest.raises(ConfigError) as caught:
        check_task(task)
    assert caught.value.where.endswith("suite.yaml: categories.choice[0]")
    assert "pick" in caught.value.what


@pytest.mark.parametrize("name", ["pick", "shots", "free", "surprise", "rolling"])
def test_parts_answer_as_one_worker_does(home: Path, suite: Suite, name: str) -> None:
    """However many workers share a task, in whatever order they answer, its record is the same to the bit."""
    task, model = only(suite, name), describe_model(home / "base", Digests())
    for batch_size in ("4", "5"):
        setting = Setting(batch_size=batch_size)
        whole = score(model, task, setting)
        for parts in (2, 3, 7):
            answered = [score_part(model, task, setting, part, parts) for part in reversed(range(parts))]
            sent = [Part.from_dict(json.loads(json.dumps(part.to_dict()))) for part in answered]
            together = score_together(model, task, setting, sent)
            assert replace(together, elapsed_s=0.0) == replace(whole, elapsed_s=0.0)
            if name != "rolling":
                assert sum(bool(any(part.answers.values())) for part in answered) > 1, "the work was shared"


@pytest.mark.parametrize("drawn", [{"do_sample": True, "temperature": 2.0}, {"temperature": 2.0}])
def test_drawn_texts_do_not_depend_on_the_number_of_parts(
    home: Path, suite: Suite, drawn: dict[str, Any]
) -> None:
    """Texts that are drawn at random are the same however many workers share the task."""
    free = only(suite, "free")
    asked = {"until": ["\n"], "max_gen_toks": 2, **drawn}
    task = replace(free, definition={**free.definition, "generation_kwargs": asked})
    model, setting = describe_model(home / "base", Digests()), Setting(batch_size="4")
    whole = score_part(model, task, setting, 0, 1)
    answered = [score_part(model, task, setting, part, 3) for part in range(3)]
    assert joined([part.answers for part in answered]) == whole.answers
    greedy = score_part(model, free, setting, 0, 1)
    assert whole.answers != greedy.answers, "the texts were drawn"
