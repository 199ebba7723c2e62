"""Files beside the weights are input: what cannot be copied is an error before any work, never dropped."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.checkpoint.companions import plan_companions, write_companions
from pipeline.checkpoint.copying import copy_checked, look_at
from pipeline.checkpoint.locate import read_index
from pipeline.errors import CheckpointError
from pipeline.untrusted import SMALL_BYTES
from pipeline.values import ModelRef
from tests.helpers.models import write_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with a tokenizer."""
    return write_model(tmp_path / "model", tokenizer=True)


def refuse(model: Path) -> CheckpointError:
    """Plan a model's companions and return the error that this must cause."""
    with pytest.raises(CheckpointError) as caught:
        plan_companions(read_index(ModelRef(str(model))), out_dtype=None)
    assert caught.value.exit_code == 2
    return caught.value


def too_long(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(SMALL_BYTES + 1)


def pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("put", "found"),
    [
        (lambda path: path.symlink_to("gone"), "a link to a file that is gone"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (os.mkfifo, "a pipe, a device or the like"),
        (too_long, f"{SMALL_BYTES + 1:,} bytes"),
        (pointer, "a Git LFS pointer, not the file itself"),
    ],
    ids=["gone", "loop", "pipe", "long", "pointer"],
)
def test_a_tokenizer_that_cannot_be_copied_is_an_error(
    put: Callable[[Path], None], found: str, model: Path
) -> None:
    """A file that should go along is never dropped, waited for or read without end."""
    (model / "tokenizer.json").unlink()
    put(model / "tokenizer.json")
    error = refuse(model)
    assert error.what == "tokenizer.json cannot be copied into the merged model"
    assert (error.where, error.found) == (str(model / "tokenizer.json"), found)
    assert error.hint


def test_a_device_is_not_opened(model: Path) -> None:
    """A link to an endless device is refused as a link that leaves the model."""
    (model / "vocab.txt").symlink_to("/dev/zero")
    assert refuse(model).found == "a link to /dev/zero"


def test_an_unreadable_file_is_an_error(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without permission is refused in the system's words (played, as root may read all)."""
    opened = os.open

    def forbidden(path: str, flags: int, *rest: int) -> int:
        if str(path).endswith("tokenizer.json"):
            raise PermissionError(13, "Permission denied", path)
        return opened(path, flags, *rest)

    monkeypatch.setattr("os.open", forbidden)
    assert refuse(model).found == "Permission denied"


@pytest.mark.parametrize("name", ["chat_template.jinja", "notes.txt", "config.json"])
def test_links_out_of_the_model_are_not_published(name: str, model: Path, tmp_path: Path) -> None:
    """A link to a file elsewhere is refused, also for config.json and names that nobody foresaw."""
    (tmp_path / "secret").write_text('{"model_type": "secret"}')
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to(tmp_path / "secret")
    error = refuse(model)
    assert error.found == f"a link to {tmp_path / 'secret'}"
    assert error.hint.startswith("copy the file into the model's directory")


def test_links_within_the_model_and_into_the_cache_are_followed(model: Path, tmp_path: Path) -> None:
    """Links to a file of the same model, through a linked directory too, and to a cache's blobs are fine."""
    (model / "vocab.txt").symlink_to("tokenizer.json")
    (tmp_path / "alias").symlink_to(model)
    repository = tmp_path / "hub" / "models--org--name"
    (repository / "blobs").mkdir(parents=True)
    (repository / "snapshots").mkdir()
    (repository / "blobs" / "0123").write_text("blob")
    snapshot = repository / "snapshots" / "abc"
    model.rename(snapshot)
    (tmp_path / "alias").unlink()
    (tmp_path / "alias").symlink_to(snapshot)
    (snapshot / "merges.txt").symlink_to("../../blobs/0123")
    for place in (snapshot, tmp_path / "alias"):
        out = tmp_path / f"out of {place.name}"
        out.mkdir()
        write_companions(plan_companions(read_index(ModelRef(str(place))), out_dtype=None), out)
        assert (out / "merges.txt").read_text() == "blob"
        assert (out / "vocab.txt").read_bytes() == (snapshot / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("moved", ["blobs", "snapshots", "both"])
def test_a_cache_may_lie_on_several_disks(moved: str, model: Path, tmp_path: Path) -> None:
    """Blobs of a snapshot's own repository are followed where that, or a part of it, is a link elsewhere; but
    a link called blobs opens no directory of other files.
    """
    repository, disk = tmp_path / "repository", tmp_path / "disk"
    for name in ("blobs", "snapshots"):
        if moved in (name, "both"):
            repository.mkdir(exist_ok=True)
            (disk / f"other {name}").mkdir(parents=True)
            (repository / name).symlink_to(disk / f"other {name}")
        else:
            (repository / name).mkdir(parents=True)
    snapshot = repository / "snapshots" / "abc"
    model.rename(snapshot)
    digest = "0a" * 20
    (repository / "blobs" / digest).write_text("blob")
    (snapshot / "merges.txt").symlink_to(repository / "blobs" / digest)
    look_at(snapshot, "merges.txt")
    if moved != "snapshots":
        (repository / "blobs" / "id_rsa").write_text("secret")
        (snapshot / "vocab.txt").symlink_to(repository / "blobs" / "id_rsa")
        with pytest.raises(CheckpointError, match="cannot be copied"):
            look_at(snapshot, "vocab.txt")


def test_a_name_that_no_manifest_can_hold_is_an_error(model: Path) -> None:
    """A file name that is not UTF-8 is refused with the way to mend it."""
    (Path(os.fsdecode(os.fsencode(model) + b"/vocab-\xff.txt"))).write_text("x")
    error = refuse(model)
    assert error.found == "'vocab-\\udcff.txt'"
    assert str(error).isascii() or str(error).encode("utf-8")


def test_the_longest_names_are_copied(model: Path, tmp_path: Path) -> None:
    """Every name that a file system holds can be copied: the file beside it while it is written is short."""
    name = "v" * 251 + ".txt"
    (model / name).write_text("x")
    out = tmp_path / "out"
    out.mkdir()
    write_companions(plan_companions(read_index(ModelRef(str(model))), out_dtype=None), out)
    assert (out / name).read_text() == "x"


def test_a_file_that_changed_since_it_was_planned_is_not_copied(model: Path, tmp_path: Path) -> None:
    """What is published has the bytes that were planned with; a change is an error and leaves nothing."""
    planned = plan_companions(read_index(ModelRef(str(model))), out_dtype=None)
    (model / "tokenizer.json").write_text("{}")
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match="changed since the merge was planned"):
        write_companions([one for one in planned if one.name == "tokenizer.json"], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_copy_that_is_there_needs_no_source(model: Path, tmp_path: Path) -> None:
    """A whole copy is left alone, a damaged one is written again, a link in its place is replaced."""
    size_bytes, digest = look_at(model, "tokenizer.json")
    source, target, victim = model / "tokenizer.json", tmp_path / "copy", tmp_path / "victim"
    wanted = source.read_bytes()
    victim.write_bytes(b"mine")
    for damage in (lambda: target.write_bytes(b"x" * size_bytes), lambda: target.symlink_to(victim)):
        damage()
        copy_checked(source, target, size_bytes, digest)
        assert target.read_bytes() == wanted and not target.is_symlink()
        kept = target.stat().st_ino
        source.rename(tmp_path / "away")
        copy_checked(source, target, size_bytes, digest)
        (tmp_path / "away").rename(source)
        assert target.stat().st_ino == kept
        target.unlink()
    assert victim.read_bytes() == b"mine"


def test_copying_takes_little_memory(tmp_path: Path) -> None:
    """A long file is looked at and copied in pieces."""
    source = tmp_path / "tokenizer.json"
    source.write_bytes(bytes(32 << 20))
    tracemalloc.start()
    try:
        size_bytes, digest = look_at(tmp_path, "tokenizer.json")
        copy_checked(source, tmp_path / "copy", size_bytes, digest)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert (tmp_path / "copy").stat().st_size == 32 << 20
