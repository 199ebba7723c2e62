"""Models and a folder of study files that several tests of studies begin from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.study_models import write_files, write_models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bases, experts and multitask models."""
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def files(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with suites and data, where the study's paths start; its study has one base."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path, models)
    return tmp_path
