"""A published model replaces an earlier one of ours, and only what that one's manifest lists."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.checkpoint.commit import publish, verify
from pipeline.checkpoint.manifest import read_manifest
from pipeline.errors import OutputError
from tests.helpers.finished import finish


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A complete model in two shards."""
    return finish(tmp_path / "model", shards=2)


def test_publish_replaces_our_own_model_only_when_asked(model: Path, tmp_path: Path) -> None:
    """An earlier merge stays without `replace`, and is gone without a trace with it."""
    out = finish(tmp_path / "out", seed=5)
    before = read_manifest(out)
    with pytest.raises(OutputError) as caught:
        publish(model, out, tmp_path / "aside")
    assert "--fresh" in caught.value.hint
    assert verify(out) == before
    wanted = read_manifest(model)
    publish(model, out, tmp_path / "aside", replace=True)
    assert verify(out) == wanted != before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_leftover_of_an_earlier_replacement_is_taken_away(model: Path, tmp_path: Path) -> None:
    """An old model that a crash left aside does not stop the publication, and does not survive it."""
    finish(tmp_path / "aside", seed=4)
    wanted = read_manifest(model)
    publish(model, tmp_path / "out", tmp_path / "aside", replace=True)
    assert verify(tmp_path / "out") == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "name", ["thesis.txt", ".hidden", "results/scores.json", "empty/", "link", "weights.gguf"]
)
def test_what_somebody_put_into_our_model_is_never_replaced(name: str, model: Path, tmp_path: Path) -> None:
    """Anything in the output that its manifest does not list is named and stays; so does the old model."""
    out = finish(tmp_path / "out", seed=5)
    before = read_manifest(out)
    if name == "link":
        (out / name).symlink_to(tmp_path)
    elif name.endswith("/"):
        (out / name).mkdir()
    else:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("dear")
    with pytest.raises(OutputError, match="did not make") as caught:
        publish(model, out, tmp_path / "aside", replace=True)
    assert name.split("/")[0] in caught.value.found and "elsewhere" in caught.value.hint
    assert os.path.lexists(out / name) and read_manifest(out) == before
    verify(model)


def test_a_file_that_somebody_changed_is_never_replaced(model: Path, tmp_path: Path) -> None:
    """A model card that was written on is the user's; damaged or missing files of ours are not kept."""
    out = finish(tmp_path / "out", seed=5)
    (out / "README.md").write_text("card, and what I found out about this model")
    with pytest.raises(OutputError) as caught:
        publish(model, out, tmp_path / "aside", replace=True)
    assert caught.value.found == "README.md (changed since)"
    (out / "README.md").unlink()
    (out / "model.safetensors").write_bytes(b"torn")
    publish(model, out, tmp_path / "aside", replace=True)
    verify(out)


def test_what_comes_while_a_model_is_replaced_stays(model: Path, tmp_path: Path) -> None:
    """A file that appears in the old model once it lies aside is not removed with it."""
    out = finish(tmp_path / "out", seed=5)
    out.rename(tmp_path / "aside")
    (tmp_path / "aside" / "late.txt").write_text("dear")
    publish(model, out, tmp_path / "aside")
    assert [path.name for path in (tmp_path / "aside").iterdir()] == ["late.txt"]


def test_a_failed_rename_puts_the_old_model_back(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the new model cannot be renamed in, the old one is where it was."""
    out = finish(tmp_path / "out", seed=5)
    before, rename = read_manifest(out), os.rename

    def refuse(source: Path, target: Path) -> None:
        if source == model:
            raise OSError(18, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr("os.rename", refuse)
    with pytest.raises(OSError, match="cross-device"):
        publish(model, out, tmp_path / "aside", replace=True)
    assert verify(out) == before
    verify(model)
