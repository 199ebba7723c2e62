"""`mergescale eval` as a user meets it: a table, JSON, or one clear error and nothing written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from evals.cli import eval_command
from evals.fanout import Evaluation, Failure
from evals.incomplete import incomplete, reasons
from evals.setting import Setting
from pipeline.errors import InputError, MergescaleError, RunError
from tests.helpers.inline import InlineExecutor


@pytest.fixture(autouse=True)
def executor(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Units run in this process; what the command asked of the executor is kept here."""
    seen: dict[str, Any] = {}

    def start(**options: Any) -> InlineExecutor:
        seen.update(options)
        return InlineExecutor()

    monkeypatch.setattr("evals.cli.start_executor", start)
    return seen


def invoke(*arguments: object) -> Result:
    """Run the command; stdout and stderr apart."""
    return CliRunner().invoke(eval_command, [str(one) for one in arguments])


def test_a_table_to_stdout_and_all_else_to_stderr(home: Path, tmp_path: Path) -> None:
    """The table goes to stdout, files are named on stderr, and both tables of records are there."""
    done = invoke(
        home / "expert",
        "--suite",
        home / "toy.yaml",
        "--out",
        tmp_path / "out",
        "--limit",
        4,
        "--base",
        home / "base",
    )
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("toy (held-in)")
    assert [line.split()[0] for line in lines[1:7]] == [
        "model", "(chance)", "expert", "base", "(majority)", "(copy)",
    ]  # fmt: skip
    assert "records.parquet" in done.stderr and "16 scores measured" in done.stderr
    assert (tmp_path / "out" / "records.jsonl").exists() and (tmp_path / "out" / "records.parquet").exists()


def test_json_is_all_there_is_on_stdout(home: Path, tmp_path: Path) -> None:
    """With --json stdout is one JSON value, and a second run serves the same scores from the store."""
    arguments = [home / "base", "--suite", home / "toy.yaml", "--out", tmp_path / "out", "--json"]
    arguments += ["--expert", f"choice={home / 'expert'}"]
    first, again = (json.loads(invoke(*arguments).stdout) for _ in range(2))
    assert first["records"] == again["records"] and (first["reused"], again["reused"]) == (0, 13)
    assert {one["label"] for one in first["records"] if one["category"] == "words"} == {
        "base", "(majority)", "(copy)",
    }  # fmt: skip
    ratios = {one["task"]: one["ratio"] for one in first["relative"] if one["label"] == "base"}
    assert ratios["pick"] is not None and ratios["free"] is None, "no expert was named for words"


def test_the_executor_is_the_one_asked_for(home: Path, tmp_path: Path, executor: dict[str, Any]) -> None:
    """--executor, --address and --workers reach the executor, whose local workers are processes."""
    options = ["--executor", "ray", "--address", "auto", "--workers", 3, "--limit", 1]
    assert (
        invoke(home / "base", "--suite", home / "toy.yaml", "--out", tmp_path / "o", *options).exit_code == 0
    )
    assert (executor["executor"], executor["address"], executor["workers"]) == ("ray", "auto", 3)
    assert executor["kind"] == "process"


def test_a_cluster_may_have_gpus_that_this_machine_has_not(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: dict[str, Any]
) -> None:
    """With --address, --device cuda is not looked for here: the work goes to the cluster as asked."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    asked: list[Setting] = []

    def seen(pairs: object, start: object, out: object, setting: Setting, **_: Any) -> Evaluation:
        asked.append(setting)
        return Evaluation((), (), 0, ())

    monkeypatch.setattr("evals.fanout.evaluate", seen)
    gpus = ["--device", "cuda", "--gpus-per-model", 2]
    given = [home / "base", "--suite", home / "toy.yaml", "--out", tmp_path / "o", *gpus]
    assert isinstance(invoke(*given).exception, InputError)
    assert invoke(*given, "--address", "auto").exit_code == 0
    assert [(one.device, one.devices) for one in asked] == [("cuda", 2)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["models/gone/there", "--suite", "toy.yaml"], "is not there"),
        (["base", "--suite", "gone.yaml"], "cannot read"),
        (["base", "--suite", "data"], "cannot read"),
        (["base", "--suite", "toy.yaml", "--data", "base"], "is not there"),
        (["base", "--suite", "toy.yaml", "--expert", "chioce=expert"], "choice"),
        (["base", "--suite", "toy.yaml", "--expert", "choice"], "CATEGORY=MODEL"),
        (
            ["base", "--suite", "toy.yaml", "--expert", "choice=base", "--expert", "choice=expert"],
            "two experts",
        ),
        (["base", "--suite", "toy.yaml", "--gpus-per-model", "2", "--device", "cpu"], "no GPU"),
        (["base", "--suite", "toy.yaml", "--plot", "scores.txt"], "not a picture"),
        (["base", "--suite", "toy.yaml", "--plot", "toy.yaml/scores.png"], "cannot be written"),
        (["base", "--suite", "toy.yaml", "--task", "pikc"], "pick"),
        (["gone.yaml", "--suite", "toy.yaml"], "gone.yaml"),
        (["base", "--suite", "toy.yaml", "--batch-size", "many"], "many"),
        (["base", "--suite", "toy.yaml", "--suite", "toy.yaml"], "two suites"),
    ],
)
def test_bad_input_is_one_clear_error(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    """Wrong input is our InputError (exit code 2) that names it; nothing starts and nothing is written."""
    monkeypatch.chdir(home)
    monkeypatch.setattr("evals.cli.start_executor", lambda **_: pytest.fail("an executor was started"))
    done = invoke(*arguments, "--out", tmp_path / "out")
    assert isinstance(done.exception, InputError), done.output
    assert done.exception.exit_code == 2
    assert said in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_contradiction_is_a_usage_error(home: Path, tmp_path: Path) -> None:
    """A local executor at an address is refused before anything is looked at."""
    done = invoke(
        "gone", "--suite", "gone", "--out", tmp_path / "out", "--executor", "local", "--address", "auto"
    )
    assert done.exit_code == 2 and "--address" in done.stderr


def test_failed_scores_end_in_an_error_after_the_table(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a score fails the table still comes, the failure is named, and the exit code is 1."""

    def broken(payload: Any) -> dict[str, Any]:
        raise MergescaleError(f"no luck with {payload['task'].name}")

    monkeypatch.setattr("evals.units.answer", broken)
    arguments = [home / "base", "--suite", home / "toy.yaml", "--out", tmp_path / "out", "--limit", 1]
    done = invoke(*arguments, "--no-baselines")
    assert done.stdout.count("failed") == 5
    assert isinstance(done.exception, RunError) and done.exception.exit_code == 1
    assert "base on toy/pick" in str(done.exception) and "no luck with pick" in str(done.exception)


def test_a_reason_is_given_once(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models and tasks that failed for one reason are named in one line with it, not in a line each."""

    def broken(payload: Any) -> dict[str, Any]:
        model = payload["model"]
        raise MergescaleError("no tokenizer" if model.label == "base" else "no luck")

    monkeypatch.setattr("evals.units.answer", broken)
    arguments = [home / "base", home / "expert", "--suite", home / "toy.yaml", "--out", tmp_path / "out"]
    asked = ["--task", "pick", "--task", "free", "--no-baselines"]
    done = invoke(*arguments, *asked, "--base", home / "base")
    text = str(done.exception)
    assert text.count("no tokenizer") == text.count("no luck") == 1
    assert "base on toy/pick, toy/free: " in text and "4 of 4" in text


def test_models_that_fail_alike_share_a_line() -> None:
    """A task that nobody can take is one line with all models, in the order of the failures."""
    failed = [Failure(label, label, "s", task, "why") for label in "ab" for task in ("x", "y")]
    failed += [Failure("c", "c", "s", "x", "why")]
    assert reasons(failed) == ["a, b on s/x, s/y: why", "c on s/x: why"]


def test_a_run_is_incomplete_exactly_when_a_score_failed() -> None:
    """Without failures there is no error; with some it counts them and names the reasons."""
    assert incomplete(Evaluation((), (), 0, ("a",))) is None
    error = incomplete(Evaluation((), (Failure("a", "a", "s", "x", "why"),), 0, ("a",)))
    assert error is not None and error.what.startswith("1 of 1") and error.where == "a on s/x: why"
