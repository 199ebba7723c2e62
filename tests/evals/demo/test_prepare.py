"""The demo's files at their places."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evals.demo import prepare
from evals.demo.prepare import lay_out
from evals.material.smollm2 import SOURCE


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds a model and data, as preparation would leave them."""
    cache = tmp_path / "cache"
    for folder, marker in (("model", SOURCE), ("data", "tasks.json")):
        (cache / folder / "deep").mkdir(parents=True)
        (cache / folder / "deep" / "file").write_text(folder)
        (cache / folder / marker).write_text("first")
    monkeypatch.setattr(prepare, "prepare_smollm2", lambda cache, report: cache / "model")
    monkeypatch.setattr(prepare, "prepare_material", lambda name, cache, report: cache / "data")
    return cache


def test_files_lie_in_the_demos_folder(prepared: Path, tmp_path: Path) -> None:
    """Model and data are at the places that the configs name, without taking the disk space twice."""
    files = lay_out(tmp_path / "demo", prepared, lambda line: None)
    assert (files.base, files.data) == (tmp_path / "demo/models/base", tmp_path / "demo/data")
    assert (files.base / "deep/file").read_text() == "model"
    assert (files.data / "deep/file").read_text() == "data"
    assert os.path.samefile(files.base / "deep/file", prepared / "model/deep/file")


def test_files_are_replaced_only_when_they_changed(prepared: Path, tmp_path: Path) -> None:
    """What was laid out stays while its marker is the same, and is replaced whole when it is another."""
    files = lay_out(tmp_path / "demo", prepared, lambda line: None)
    (files.base / "mine").touch()
    lay_out(tmp_path / "demo", prepared, lambda line: None)
    assert (files.base / "mine").exists()
    (prepared / "model" / SOURCE).unlink()
    (prepared / "model" / SOURCE).write_text("second")
    lay_out(tmp_path / "demo", prepared, lambda line: None)
    assert not (files.base / "mine").exists()
    assert (files.base / SOURCE).read_text() == "second"
    assert sorted(entry.name for entry in (tmp_path / "demo/models").iterdir()) == ["base"]
