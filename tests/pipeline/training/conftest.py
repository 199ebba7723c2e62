"""Shared by the tests of the training room: one folder with a tiny model and data, and no network."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.training import write_home


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base and data that no test changes."""
    return write_home(tmp_path_factory.mktemp("training"))
