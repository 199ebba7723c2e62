"""A tiny family, built once for all tests of families."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from evals.family.config import load_family
from tests.helpers.crash import killed_at
from tests.helpers.family import write_world
from tests.helpers.family_builds import TINY, build


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished tiny family; the build was killed once among the experts."""
    home = write_world(tmp_path_factory.mktemp("family"))
    shutil.copy(TINY, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("HF_HUB_OFFLINE", "1")
        config = load_family("tiny.yaml")
        assert killed_at("pipeline.training.run:train_unit", 2, lambda: build(config))
        _, ran = build(config)
        assert len([unit for unit in ran if unit.startswith("base/")]) == 0, "bases were made before the kill"
        assert len([unit for unit in ran if unit.startswith("train/")]) == 5, (
            "one of six was trained before it"
        )
    return home


@pytest.fixture
def family_home(built: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, and the current directory."""
    monkeypatch.chdir(built)
    return built
