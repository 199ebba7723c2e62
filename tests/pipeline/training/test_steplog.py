"""The log of steps, damaged: what can be read is read, nothing else ends a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.training.steplog import Step, as_lines, last_step, progress_file, read_log

STEPS = [Step(number, 2, 0.5, 1.0, 1e-3, 64, 0.25) for number in (1, 2)]


@pytest.mark.parametrize(
    "damage", [b"{", b"null", b"[1]", b"\xff", b'{"step": 1}', b"[" * 5000, b'{"step": "1"}']
)
def test_a_damaged_line_is_left_out(tmp_path: Path, damage: bytes) -> None:
    """Lines that are no step are as if they were not there, whoever reads the log."""
    first, second = as_lines(STEPS).encode().splitlines(keepends=True)
    path = progress_file(tmp_path / "expert")
    path.write_bytes(first + damage + b"\n" + second + damage + b"\n" + b'{"step": 3')
    assert read_log(path) == STEPS and last_step(tmp_path / "expert") == STEPS[-1]
    path.write_bytes(damage + b"\n")
    assert read_log(path) == [] and last_step(tmp_path / "expert") is None
