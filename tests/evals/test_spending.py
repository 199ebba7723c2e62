"""What pieces of work cost: the peak that is reported, also where the system lets nobody reset it."""

from __future__ import annotations

from pathlib import Path

import pytest

from evals.harness import spending as module
from evals.harness import take_spent
from evals.harness.spending import spending


@pytest.mark.parametrize("status", ["Name:\tpython\nVmHWM:\t    1024 kB\n", "Name:\tpython\n", None])
def test_a_closed_proc_costs_no_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str | None
) -> None:
    """Where the peak cannot be counted anew, or not be read, work goes on and the process's peak is noted."""
    (tmp_path / "clear_refs").mkdir()  # writing to it fails, for root as well
    if status is not None:
        (tmp_path / "status").write_text(status)
    monkeypatch.setattr(module, "_PROCESS", tmp_path)
    take_spent()
    with spending("load", "base", 5):
        pass
    (found,) = take_spent()
    assert (found["kind"], found["label"], found["read_bytes"]) == ("load", "base", 5)
    assert found["peak_bytes"] == 1 << 20 if status and "VmHWM" in status else found["peak_bytes"] > 1 << 20
