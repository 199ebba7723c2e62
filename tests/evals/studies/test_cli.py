"""`mergescale study` as a user meets it: plan, run, status and report, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from evals.studies.cli import study
from pipeline.errors import RunError
from tests.helpers.inline import InlineExecutor
from tests.helpers.study_models import one_base, small_study, write_files, write_models


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models and suites, the current directory; units run in this process."""
    monkeypatch.setattr("evals.studies.cli.start_executor", lambda *_, **__: InlineExecutor())
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path, write_models(tmp_path / "models"))
    return tmp_path


def invoke(*arguments: object) -> Result:
    """Run the command; stdout and stderr apart."""
    return CliRunner().invoke(study, [str(one) for one in arguments])


def write(folder: Path, **changes: Any) -> Path:
    """The file of a study of averaging over one base."""
    small: dict[str, Any] = {
        "bases": [one_base("weak")],
        "methods": {"averaging": {"merge_method": "linear"}},
        "seeds": [0],
        "tune": None,
    }
    return small_study(folder, **(small | changes)).file


def test_a_study_is_planned_run_looked_at_and_reported(folder: Path) -> None:
    """Each command gives what it promises on stdout: a plan, the report's page, counts, the page again."""
    config = write(folder)
    planned = invoke("plan", config)
    assert planned.exit_code == 0, planned.output
    assert planned.stdout.startswith("small: 2 merges, 27 scores, 0 of them there already")
    assert "\nleft: 2 merges, 27 scores, 27,000 items, " in planned.stdout
    as_json = json.loads(invoke("plan", config, "--json").stdout)
    assert as_json["bases"][0]["merges"] == as_json["bases"][0]["left"]["merges"] == 2
    assert as_json["left"]["scores"] == 27 and as_json["left"]["seconds"] == as_json["seconds"] > 0
    ran = invoke("run", config, "--no-progress", "--device", "cpu")
    assert ran.exit_code == 0, ran.output
    assert ran.stderr.startswith("small, left: 2 merges, 27 scores, 27,000 items, ")
    assert ran.stdout == "out/report/index.html\n" and (folder / "out/report/report.md").exists()
    assert "27 of 27" in invoke("status", config).stdout
    page = (folder / "out/report/index.html").read_bytes()
    again = invoke("report", config)
    assert again.stdout == ran.stdout and (folder / "out/report/index.html").read_bytes() == page
    after = invoke("plan", config).stdout
    assert "27 of them there already" in after and "\nleft: 0 merges, 0 scores, 0 items, " in after
    assert json.loads(invoke("plan", config, "--json").stdout)["left"]["seconds"] == 0


def test_a_study_with_holes_reports_and_fails(folder: Path) -> None:
    """Where scores are missing the report is written all the same, and the command ends with the reasons."""
    experts = {"colour": "m/weak/colour", "size": "m/weak/size", "shape": "m/weak/nowhere"}
    config = write(folder, bases=[one_base("weak", experts=experts)])
    ran = invoke("run", config, "--no-progress", "--device", "cpu")
    assert ran.stdout == "out/report/index.html\n"
    assert isinstance(ran.exception, RunError) and "m/weak/nowhere" in ran.exception.where
    assert "cannot be had" in invoke("status", config).stdout


@pytest.mark.parametrize("command", ["plan", "run", "status", "report"])
def test_a_wrong_file_is_one_error_and_nothing_written(folder: Path, command: str) -> None:
    """A misspelt key stops every command before any work."""
    path = folder / "wrong.yaml"
    path.write_text(write(folder).read_text().replace("seeds:", "seds:"))
    done = invoke(command, path)
    assert done.exit_code != 0 and "seeds" in str(done.exception)
    assert not (folder / "out").exists()
