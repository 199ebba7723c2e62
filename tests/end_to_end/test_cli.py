"""The command line as scripts see it: exit codes, data on stdout, words on stderr, and nothing left after a
mistake.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from evals.app import main
from pipeline.checkpoint.manifest import read_manifest
from tests.helpers.merging import write_config
from tests.helpers.models import write_family
from tests.helpers.shell import Shell, shell

__all__ = ["shell"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A TIES config over a tiny family."""
    return write_config(tmp_path / "merge.json", "ties", *write_family(tmp_path / "models", experts=2))


def test_merge_status_verify(shell: Shell, config: Path) -> None:
    """merge publishes and prints the path alone on stdout; status and verify agree; a second merge does
    nothing.
    """
    assert json.loads(shell("status", "out", "--json").out)["state"] == "absent"
    first = shell("merge", config, "out", "--workers", "1", "--memory", "1GiB", "--device", "cpu")
    assert (first.code, first.out) == (0, "out\n") and "ties" in first.err
    status = json.loads(shell("status", "out", "--json").out)
    digest = read_manifest(Path("out")).model_digest
    assert (status["state"], status["model_digest"]) == ("complete", digest)
    assert shell("verify", "out").out == digest + "\n"
    again = shell("merge", config, "out")
    assert (again.code, again.out) == (0, "out\n") and "already" in again.err


def test_dry_run_writes_nothing(shell: Shell, config: Path, tmp_path: Path) -> None:
    """--dry-run prints the plan and leaves the directory as it was."""
    before = sorted(tmp_path.rglob("*"))
    run = shell("merge", config, "out", "--dry-run")
    assert run.code == 0 and "method      ties" in run.out
    assert sorted(tmp_path.rglob("*")) == before


def test_plan_is_data_on_request(shell: Shell, config: Path) -> None:
    """plan --json prints one JSON object; a described cluster changes the estimate, never the fingerprint."""
    here = json.loads(shell("plan", config, "--json").out)
    there = json.loads(shell("plan", config, "--json", "--cluster", "nodes=8,gpus=8,disk=5GBps").out)
    assert there["workers"] == 64 and there["fingerprint"] == here["fingerprint"]
    gpus = shell("plan", config, "--json", "--cluster", "nodes=2,gpus=4", "--device", "cuda")
    assert gpus.code == 0 and json.loads(gpus.out)["workers"] == 8, "a cluster's GPUs need none here"
    assert json.loads(shell("plan", config, "--json", "--workers", "3").out)["workers"] == 3


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["merge", "absent.yaml", "out"], "absent.yaml", ""),
        (["merge", "CONFIG", "out", "--memory", "lots"], "not a size", "4GiB"),
        (["merge", "CONFIG", "out", "--memory", "10MB"], "memory bound", "--memory"),
        (["merge", "CONFIG", "out", "--executor", "local", "--address", "auto"], "--address", ""),
        (["merge", "CONFIG", "out", "--executor", "slurm"], "slurm", ""),
        (["merge", "CONFIG", "out", "--wrokers", "2"], "--wrokers", "--workers"),
        (["plan", "CONFIG", "--cluster", "nodes=many"], "whole number", ""),
        (["verify", "nowhere"], "nowhere", ""),
        (["methods", "tis"], 'unknown merge method "tis"', "ties"),
        (["mrege", "CONFIG", "out"], "mrege", "merge"),
    ],
)
def test_mistakes_end_with_two_and_a_hint(
    shell: Shell, config: Path, tmp_path: Path, arguments: list[str], message: str, hint: str
) -> None:
    """A wrong argument ends with exit code 2, a message on stderr that names it, and no output."""
    run = shell(*(str(config) if argument == "CONFIG" else argument for argument in arguments))
    assert run.code == 2 and run.out == ""
    assert message in run.err and hint in run.err and "Traceback" not in run.err
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.mergescale").exists()


def test_a_wrong_config_names_place_and_near_name(shell: Shell, config: Path) -> None:
    """A misspelt parameter ends with 2; the message has file, path in it and the near name."""
    config.write_text(config.read_text().replace('"density"', '"densty"'))
    run = shell("merge", config, "out")
    assert run.code == 2
    assert "merge.json" in run.err and "models[0]" in run.err and "density" in run.err


def test_debug_shows_the_traceback(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """--debug lets the exception through, wherever it stands on the line."""
    monkeypatch.setattr(sys, "argv", ["mergescale", "merge", "absent.yaml", "out", "--debug"])
    with pytest.raises(Exception, match=r"absent\.yaml"):
        main()


def test_methods_describe_themselves(shell: Shell) -> None:
    """methods lists the catalogue; one method shows parameters, defaults and its source."""
    everything = shell("methods")
    names = ("linear", "task_arithmetic", "ties", "dare_linear", "dare_ties")
    assert all(name in everything.out for name in names)
    ties = shell("methods", "ties").out
    assert "density" in ties and "paper 0.2" in ties and "2306.01708" in ties and "bfloat16" in ties
    assert json.loads(shell("methods", "--json").out)[0]["name"] == "linear"
