"""Runs `mergescale ...` in this process, in an empty directory, and says how it ended."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from evals.app import main


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    code: int
    out: str
    err: str


class Shell:
    """Runs `mergescale ...` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: str | Path) -> Run:
        """Exit code and both streams of one command."""
        self._monkeypatch.setattr(sys, "argv", ["mergescale", *(str(argument) for argument in arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        streams = self._capsys.readouterr()
        return Run(int(caught.value.code or 0), streams.out, streams.err)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """A shell in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return Shell(capsys, monkeypatch)
