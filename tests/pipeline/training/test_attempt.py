"""The hidden folders that experts are trained in: whose they are, and what an attempt may remove."""

from __future__ import annotations

from pathlib import Path

from pipeline.training.attempt import key_of, workspace


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
