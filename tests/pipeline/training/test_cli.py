"""`mergescale train`: what it prints where, and how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.contract import Executor
from evals.app import main
from tests.helpers.inline import InlineExecutor
from tests.helpers.training import write_config, write_home


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of the command line."""
    monkeypatch.setattr("sys.argv", ["mergescale", "train", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_experts_are_trained_in_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The directories of the experts are the only output; a second run trains nothing and says the same."""
    path = str(write_config(write_home(tmp_path)))
    outputs = []
    for _ in range(2):
        assert run(monkeypatch, path, "--workers", "1", "--no-progress") == 0
        outputs.append(capfd.readouterr())
    assert outputs[0].out.split() == [str(tmp_path / "experts" / name) for name in ("even", "odd")]
    assert outputs[1].out == outputs[0].out
    assert "done before: even" in outputs[1].err
    assert "Loading" not in outputs[0].err


def test_a_dry_run_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """--dry-run names the experts with their steps and trains none."""
    path = str(write_config(write_home(tmp_path)))
    assert run(monkeypatch, path, "--dry-run") == 0
    assert "to train: odd, 16 steps" in capfd.readouterr().err
    assert not (tmp_path / "experts").exists()


def test_workers_share_the_memory_and_a_cluster_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Local workers get a bound of memory; from a head without GPU it is said how to use the cluster's."""
    asked: list[dict[str, Any]] = []

    def start(**options: Any) -> Executor:
        asked.append(options)
        return InlineExecutor()

    monkeypatch.setattr("pipeline.training.cli.start_executor", start)
    monkeypatch.setattr("pipeline.machine._has_gpu_driver", lambda: False)
    path = str(write_config(write_home(tmp_path)))
    assert run(monkeypatch, path, "--address", "head:6379", "--no-progress") == 0
    assert asked[0]["memory_bytes"] > 0 and 1 <= asked[0]["here"] <= 2
    assert "device: cuda in CONFIG takes the cluster's" in capfd.readouterr().err


def test_bad_input_ends_with_2_and_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A wrong config is exit code 2, a message with its place and a hint, no traceback, no output."""
    path = write_config(write_home(tmp_path), settings={"learning_rat": 0.1})
    assert run(monkeypatch, str(path)) == 2
    found = capfd.readouterr()
    assert "learning_rate" in found.err
    assert str(path) in found.err
    assert "Traceback" not in found.err
    assert found.out == ""
    assert not (tmp_path / "experts").exists()
