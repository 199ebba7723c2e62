"""The hidden folders that experts are trained in: whose they are, and what an attempt may remove."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from pipeline.training import attempt
from pipeline.training.attempt import Memory, candidate, key_of, mark_whole, newest, workspace
from pipeline.training.scoring import Score


def _left(out: Path, key: str) -> Path:
    """The folder of an attempt that was killed after a checkpoint."""
    folder = out.with_name(f".{out.name}.{key}.training")
    (folder / "checkpoint-3").mkdir(parents=True)
    (folder / "checkpoint-3/mark.json").write_text('{"steps": [], "scores": []}')
    return folder


def test_a_neighbour_with_a_longer_name_is_left_alone(tmp_path: Path) -> None:
    """An expert that ends removes what other settings of it left, and nothing of one called NAME.MORE."""
    neighbour = _left(tmp_path / "math.v2", key_of({"a": 1}))
    earlier = _left(tmp_path / "math", key_of({"a": 2}))
    with workspace(tmp_path / "math", key_of({"a": 1})):
        pass
    assert neighbour.is_dir() and not earlier.exists()


def test_a_folder_where_somebody_works_is_left_alone(tmp_path: Path) -> None:
    """An expert that ends leaves the folder of an attempt with other settings that is at work."""
    out = tmp_path / "math"
    with workspace(out, key_of({"a": 1})) as other:
        with workspace(out, key_of({"a": 2})):
            pass
        assert other.is_dir()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    ["", "[]", "[" * 100_000, '{"steps": 5, "scores": []}', '{"steps": [{"step": 1}], "scores": []}'],
)
def test_a_checkpoint_with_a_damaged_mark_is_none(damage: str, tmp_path: Path) -> None:
    """Training goes on from the latest checkpoint whose mark is whole, from the start where there is none."""
    for number in (3, 6):
        (tmp_path / f"checkpoint-{number}").mkdir()
        (tmp_path / f"checkpoint-{number}/mark.json").write_text('{"steps": [], "scores": []}')
    (tmp_path / "checkpoint-6/mark.json").write_text(damage)
    assert newest(tmp_path) == (tmp_path / "checkpoint-3", Memory())
    (tmp_path / "checkpoint-3/mark.json").write_text(damage)
    assert newest(tmp_path) is None


def test_the_best_weights_are_on_the_disk_before_the_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file of the checkpoint, and of the best weights that its mark names, is synced before the mark is
    written: after a loss of power neither is torn.
    """
    done: list[str] = []
    monkeypatch.setattr(attempt, "sync_file", lambda path: done.append(str(path.relative_to(tmp_path))))
    monkeypatch.setattr(attempt, "atomic_write", lambda path, content: done.append("mark"))
    for folder in (tmp_path / "checkpoint-6", candidate(tmp_path, 3)):
        folder.mkdir()
        (folder / "model.safetensors").write_text("weights")
    mark_whole(tmp_path / "checkpoint-6", Memory([], [Score(3, 0.5, ())]))
    assert done[-1] == "mark"
    assert set(done[:-1]) == {"checkpoint-6/model.safetensors", "best-3/model.safetensors"}


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nobody can lock, the attempt works in a folder of its own and warns; a lock that another attempt
    holds is no reason to.
    """
    out, key = tmp_path / "math", key_of({"a": 1})
    with workspace(out, key), workspace(out, key):
        assert caplog.text == ""

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(attempt.fcntl, "flock", refuse)
    with workspace(out, key) as work:
        assert work.name.endswith(".part")
    assert "No locks available" in caplog.text and "begins again" in caplog.text
