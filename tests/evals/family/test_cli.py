"""`mergescale family build`: where it runs what."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cluster.contract import Executor
from evals.family.cli import family
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
