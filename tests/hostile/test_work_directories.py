"""Whose is what: nothing that somebody else put at or beside an output is deleted, followed, or published."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.contract import ClusterError
from pipeline.checkpoint.commit import verify
from pipeline.errors import MergescaleError, OutputError
from pipeline.work_directory import work_directory
from tests.helpers.crash import killed_at
from tests.helpers.merging import (
    merge_into_files,
    ties_in_small_units,
    weight_bytes,
)

DEAR = "years of work"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TIES merge over the whole model, in many small units and several files."""
    return ties_in_small_units(tmp_path, monkeypatch)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the merges go."""
    return tmp_path / "place" / "out"


def interrupted(config: Path, out: Path, point: str = "pipeline.run:_Run.seal") -> Path:
    """A work directory with all work done; returns the model in it."""
    assert killed_at(point, 1, lambda: merge_into_files(config, out))
    (model,) = work_directory(out).glob("model-*")
    return model


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "model-final/precious.safetensors",
        "model-0123456789ab/model.safetensors",
        "partials/notes.json",
        "notes.tmp",
        ".thesis.tmp",
        "plan.json",
        "receipts.jsonl",
        "owner.json",
        "replaced/config.json",
    ],
)
def test_a_directory_that_looks_like_ours_is_not_ours(
    name: str, fresh: bool, config: Path, out: Path
) -> None:
    """Names alone make no work directory ours: what lies in one without a marker is named and stays."""
    path = work_directory(out) / name
    path.parent.mkdir(parents=True)
    path.write_text(DEAR)
    with pytest.raises(MergescaleError) as caught:
        merge_into_files(config, out, fresh=fresh)
    assert name.split("/")[0] in str(caught.value) and caught.value.hint
    assert path.read_text() == DEAR and not out.exists()


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    "name",
    ["thesis.txt", "partials/thesis.json", "model/thesis.safetensors", "model/modeling_evil.py", ".x.tmp"],
)
def test_foreign_files_in_a_work_directory_of_ours_stay(
    name: str, fresh: bool, config: Path, out: Path
) -> None:
    """A file that no merge makes is neither published nor deleted, whether the run goes on or starts over."""
    model = interrupted(config, out)
    path = work_directory(out) / name.replace("model", model.name, 1)
    path.write_text(DEAR)
    with pytest.raises(OutputError, match="did not make") as caught:
        merge_into_files(config, out, fresh=fresh)
    assert path.name in caught.value.found
    assert path.read_text() == DEAR and not out.exists()
    path.unlink()
    merge_into_files(config, out, fresh=fresh)
    verify(out)


@pytest.mark.parametrize("kind", ["directory", "file", "link"])
@pytest.mark.parametrize("fresh", [False, True])
def test_what_lies_beside_the_output_is_not_touched(
    kind: str, fresh: bool, config: Path, out: Path, tmp_path: Path
) -> None:
    """A hidden neighbour of a name that a replacement might use is nobody's business."""
    if fresh:
        merge_into_files(config, out)
    neighbour = out.with_name(f".{out.name}.replaced")
    neighbour.parent.mkdir(exist_ok=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if kind == "file":
        neighbour.write_text(DEAR)
    elif kind == "link":
        neighbour.symlink_to(elsewhere)
    else:
        neighbour.mkdir()
        (neighbour / "thesis.txt").write_text(DEAR)
    merge_into_files(config, out, fresh=fresh)
    verify(out)
    assert {path.name for path in out.parent.iterdir()} == {out.name, neighbour.name}
    assert neighbour.is_symlink() is (kind == "link") and elsewhere.exists()
    if kind == "directory":
        assert (neighbour / "thesis.txt").read_text() == DEAR


def test_fresh_never_deletes_what_was_put_into_the_output(config: Path, out: Path) -> None:
    """Notes in a merged model stop a replacement before any work, and stay."""
    merge_into_files(config, out)
    before = weight_bytes(out)
    (out / "thesis.txt").write_text(DEAR)
    with pytest.raises(OutputError) as caught:
        merge_into_files(config, out, fresh=True)
    assert "thesis.txt" in caught.value.found
    assert (out / "thesis.txt").read_text() == DEAR and weight_bytes(out) == before
    assert not work_directory(out).exists()


def links(victim: Path) -> dict[str, Callable[[Path], object]]:
    """Ways to put the victim in the place of a file."""
    return {
        "link": lambda path: path.symlink_to(victim),
        "second name": lambda path: path.hardlink_to(victim),
        "pipe": os.mkfifo,
        "endless": lambda path: path.symlink_to("/dev/zero"),
        "directory": Path.mkdir,
    }


@pytest.mark.parametrize("kind", ["link", "second name", "pipe", "endless", "directory"])
@pytest.mark.parametrize("name", ["receipts.jsonl", "plan.json", "owner.json", "weights", "config.json"])
def test_nothing_is_followed_in_a_work_directory(
    name: str, kind: str, config: Path, out: Path, tmp_path: Path
) -> None:
    """A link, a second name, a pipe in the place of a file of ours is refused; where it leads stays as it
    was, with a work directory of ours and with one that was made for us.
    """
    victim = tmp_path / "victim"
    victim.write_text(DEAR)
    model = interrupted(config, out, "pipeline.underway:publish")
    path = {"weights": max(model.glob("*.safetensors")), "config.json": model / name}.get(
        name, work_directory(out) / name
    )
    path.unlink()
    links(victim)[kind](path)
    for fresh in (False, True):
        with pytest.raises((MergescaleError, ClusterError)):
            merge_into_files(config, out, fresh=fresh)
    assert victim.read_text() == DEAR and not out.exists()


@pytest.mark.parametrize("level", ["root", "model", "partials"])
def test_directories_are_not_followed(level: str, config: Path, out: Path, tmp_path: Path) -> None:
    """A link in the place of a work directory, or of a directory in it, is refused; nothing is written
    through it.
    """
    model = interrupted(config, out)
    root = work_directory(out)
    place = {"root": root, "model": model, "partials": root / "partials"}[level]
    moved = tmp_path / "moved"
    place.rename(moved)
    place.symlink_to(moved)
    before = {path: path.stat().st_mtime_ns for path in moved.rglob("*")}
    for fresh in (False, True):
        with pytest.raises(OutputError, match="did not make"):
            merge_into_files(config, out, fresh=fresh)
    assert {path: path.stat().st_mtime_ns for path in moved.rglob("*")} == before and not out.exists()


def test_a_work_directory_of_another_user_is_refused(
    config: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever owns the directory could change what we write: it is not gone on with."""
    interrupted(config, out)
    monkeypatch.setattr("pipeline.work_directory._our_uid", lambda root, found: found + 1)
    with pytest.raises(OutputError, match="did not make") as caught:
        merge_into_files(config, out)
    assert "another user" in caught.value.found


def test_an_empty_work_directory_is_taken(config: Path, out: Path) -> None:
    """An empty directory, which a merge killed at its very beginning leaves, stops nobody."""
    work_directory(out).mkdir(parents=True)
    merge_into_files(config, out)
    verify(out)
    assert not work_directory(out).exists()


def test_a_work_directory_of_an_older_version(config: Path, out: Path) -> None:
    """Without a marker, plan and ledger of one plan tell that it is ours: it is not gone on with, and --fresh
    may start over; with anything else in it, it stays.
    """
    model = interrupted(config, out)
    root = work_directory(out)
    (root / "owner.json").unlink()
    for path in model.iterdir():
        if path.suffix != ".safetensors":
            path.unlink()  # older versions wrote what lies beside the weights at the very end
    with pytest.raises(OutputError, match="older version") as caught:
        merge_into_files(config, out)
    assert "--fresh" in caught.value.hint
    (root / "thesis.txt").write_text(DEAR)
    with pytest.raises(OutputError, match="did not make"):
        merge_into_files(config, out, fresh=True)
    (root / "thesis.txt").unlink()
    merge_into_files(config, out, fresh=True)
    verify(out)
    assert not root.exists()
