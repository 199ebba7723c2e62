"""`mergescale family build`: where it runs what."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cluster.contract import Executor
from evals.family.cli import family
from evals.family.command import command_for, keep_command
from evals.family.config import FamilyConfig
from evals.family.members import Work
from tests.helpers.inline import InlineExecutor

TINY = Path(__file__).parents[3] / "configs" / "family" / "tiny.yaml"


@pytest.mark.parametrize(("device", "workers"), [("cuda", 1), ("auto", 8)])
def test_the_device_decides_how_many_work_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, workers: int
) -> None:
    """--device reaches the build; one worker shares a GPU, else there is one a core, with a bound of memory;
    from a head without GPU it is said how to use the cluster's.
    """
    asked: list[dict[str, Any]] = []
    works: list[Work] = []

    def start(**options: Any) -> Executor:
        asked.append(options)
        return InlineExecutor()

    def build(config: Any, work: Work, **_: Any) -> dict[str, Any]:
        works.append(work)
        work.start()
        return {}

    monkeypatch.setattr("evals.family.cli.start_executor", start)
    monkeypatch.setattr("evals.family.build.build_family", build)
    monkeypatch.setattr("pipeline.machine._has_gpu_driver", lambda: False)
    monkeypatch.setattr("pipeline.machine.cores", lambda: 8)
    file = shutil.copy(TINY, tmp_path)
    done = CliRunner().invoke(family, ["build", str(file), "--address", "head:6379", "--device", device])
    assert done.exit_code == 0, done.output
    assert works[0].device == ("cuda" if device == "cuda" else "cpu")
    assert (asked[0]["here"], asked[0]["kind"]) == (workers, "process") and asked[0]["memory_bytes"] > 0
    assert ("no GPU" in done.stderr) == (device == "auto")


def test_repeats_of_the_command_come_before_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--repeat says how many runs are built, else the file does; what was said is kept for who must build it
    again; no run at all is refused.
    """
    asked: list[int] = []

    def build(config: FamilyConfig, work: Work, **_: Any) -> dict[str, Any]:
        asked.append(config.repeat)
        keep_command(config, None, False)
        return {}

    monkeypatch.setattr("evals.family.build.build_family", build)
    monkeypatch.chdir(tmp_path)
    for repeat in (1, 2):
        Path("family.yaml").write_text(TINY.read_text() + f"repeat: {repeat}\n")
        for options in ([], ["--repeat", "3"]):
            done = CliRunner().invoke(family, ["build", "family.yaml", *options])
            assert done.exit_code == 0, done.output
    assert asked == [1, 3, 2, 3]
    assert command_for(Path("family")) == "mergescale family build family.yaml --repeat 3"
    assert command_for(Path("family"), repeat=5) == "mergescale family build family.yaml --repeat 5"
    assert CliRunner().invoke(family, ["build", "family.yaml", "--repeat", "0"]).exit_code == 2
