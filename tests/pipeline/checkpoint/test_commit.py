"""Publish and verify: a model appears whole or not at all, and every changed byte is found."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pipeline.checkpoint import commit
from pipeline.checkpoint.commit import find_problems, publish, verify
from pipeline.checkpoint.manifest import read_manifest, write_manifest
from pipeline.errors import OutputError, VerifyError
from tests.helpers.finished import finish, manifest_of
from tests.helpers.models import write_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A complete model in two shards."""
    return finish(tmp_path / "model", shards=2)


def test_verify_accepts_what_was_published(model: Path) -> None:
    """An untouched model has no problems, and progress adds up to all its bytes."""
    steps: list[int] = []
    assert verify(model, steps.append) == read_manifest(model)
    assert sum(steps) == sum(file.size_bytes for file in read_manifest(model).outputs)


def test_verify_finds_any_single_changed_byte(tmp_path: Path) -> None:
    """A flipped bit anywhere in any file is found and the file named."""
    model = finish(tmp_path / "m", layers=1, hidden=4, vocab=8)
    for file in read_manifest(model).outputs:
        path = model / file.name
        content = path.read_bytes()
        for place in range(0, len(content), max(1, len(content) // 7)):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            (problem,) = find_problems(model)
            assert (problem.file, problem.what) == (file.name, "has other bytes")
        path.write_bytes(content)


def test_verify_lists_missing_extra_and_resized_files(model: Path) -> None:
    """All differences are reported together; hidden files do not count."""
    (model / "tokenizer.json").unlink()
    (model / "new.txt").touch()
    (model / ".DS_Store").touch()
    with open(model / "model-00001-of-00002.safetensors", "ab") as file:
        file.write(b"x")
    found = {(problem.file, problem.what) for problem in find_problems(model)}
    assert found == {
        ("tokenizer.json", "is missing"),
        ("new.txt", "is not in the manifest"),
        ("model-00001-of-00002.safetensors", "has another size"),
    }
    with pytest.raises(VerifyError) as caught:
        verify(model)
    assert caught.value.where == str(model)
    for name, _ in found:
        assert name in caught.value.found


def test_verify_names_a_file_that_cannot_be_read(model: Path) -> None:
    """A file that the system refuses to give is a problem in the system's words."""
    (model / "README.md").unlink()
    (model / "README.md").symlink_to("README.md")
    (problem,) = find_problems(model)
    assert problem.file == "README.md"
    assert problem.what == f"cannot be read: {os.strerror(errno.ELOOP)}"


def test_verify_counts_what_it_does_not_list(model: Path) -> None:
    """Of very many problems the first twenty are named and the rest counted."""
    for number in range(25):
        (model / f"extra{number:02d}").touch()
    with pytest.raises(VerifyError) as caught:
        verify(model)
    lines = caught.value.found.splitlines()
    assert len(lines) == 21
    assert lines[-1].strip() == "and 5 more"


def test_verify_reads_headers_even_when_digests_agree(model: Path) -> None:
    """A manifest made of broken weights does not verify."""
    (model / "model-00001-of-00002.safetensors").write_bytes(b"\xff" * 100)
    write_manifest(model, manifest_of(model))
    (problem,) = find_problems(model)
    assert problem.what == "header is longer than the format allows"


def test_publish_moves_the_model_into_place(model: Path, tmp_path: Path) -> None:
    """The final directory holds the staged files, verified, and the staging directory is gone."""
    publish(model, tmp_path / "out", tmp_path / "aside")
    verify(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not list((tmp_path / "out").glob(".*"))


def test_publish_fills_an_empty_directory(model: Path, tmp_path: Path) -> None:
    """An empty directory at the final name is taken."""
    (tmp_path / "out").mkdir()
    publish(model, tmp_path / "out", tmp_path / "aside")
    verify(tmp_path / "out")


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_publish_never_touches_what_is_not_ours(
    kind: str, replace: bool, model: Path, tmp_path: Path
) -> None:
    """A file, a link or somebody's directory at the final name stays, with or without `replace`."""
    out, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    if kind == "file":
        out.write_text("years of work")
    elif kind == "link":
        out.symlink_to(other)
    else:
        shutil.copytree(other, out)
    with pytest.raises(OutputError) as caught:
        publish(model, out, tmp_path / "aside", replace=replace)
    assert caught.value.where == str(out)
    assert caught.value.hint
    assert (out if kind == "file" else out / "thesis.tex").read_text() == "years of work"
    verify(model)


@pytest.mark.parametrize(("count", "found"), [(5, "0, 1, 2, 3, 4"), (7, "0, 1, 2, 3, 4 and 2 more")])
def test_what_is_in_the_way_is_shown(count: int, found: str, model: Path, tmp_path: Path) -> None:
    """The first five names of a directory that is not empty are given and the rest counted."""
    (tmp_path / "out").mkdir()
    for number in range(count):
        (tmp_path / "out" / str(number)).touch()
    with pytest.raises(OutputError) as caught:
        publish(model, tmp_path / "out", tmp_path / "aside")
    assert caught.value.found == found


def test_a_failed_first_publication_tells_the_cause(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing set aside, the system's own error comes through and the staged model stays."""

    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, f"Invalid cross-device link: {source.name}")

    monkeypatch.setattr("os.rename", refuse)
    with pytest.raises(OSError, match="link: model"):
        publish(model, tmp_path / "out", tmp_path / "aside")
    verify(model)


def test_an_incomplete_model_is_never_published(tmp_path: Path) -> None:
    """Without its manifest a staging directory is refused as our own mistake."""
    path = write_model(tmp_path / "m")
    with pytest.raises(ValueError, match="not complete"):
        publish(path, tmp_path / "out", tmp_path / "aside")
    assert not (tmp_path / "out").exists()


KILLED_AT_EVERY_STEP = """
    import os, shutil, signal, sys
    from pathlib import Path
    from pipeline.checkpoint.commit import publish
    root = Path(sys.argv[1])
    def counted(name):
        real = getattr(os, name)
        def call(*args, **kw):
            global left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return real(*args, **kw)
        setattr(os, name, call)
    for left in range(100):
        place = root / f"step{left:02d}"
        shutil.copytree(root / "new", place / "staging")
        shutil.copytree(root / "old", place / "out")
        child = os.fork()
        if child == 0:
            for name in ("rename", "fsync", "rmdir", "unlink"):
                counted(name)
            publish(place / "staging", place / "out", place / "aside", replace=True)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            break
"""


def test_a_kill_at_any_step_leaves_whole_models_and_can_be_finished(tmp_path: Path) -> None:
    """Killed before any of its system calls, publishing leaves old and new whole, and going on finishes."""
    wanted = read_manifest(finish(tmp_path / "new", layers=1))
    before = read_manifest(finish(tmp_path / "old", layers=1, seed=9))
    script = textwrap.dedent(KILLED_AT_EVERY_STEP)
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    places = sorted(tmp_path.glob("step*"))
    assert 10 < len(places) < 100
    for place in places:
        staging, out, aside = place / "staging", place / "out", place / "aside"
        if staging.exists():
            assert verify(staging) == wanted
            assert verify(out if out.exists() else aside) == before
            publish(staging, out, aside, replace=out.exists())
            assert not aside.exists()
        assert verify(out) == wanted
    assert [path.name for path in places[-1].iterdir()] == ["out"]


def test_files_are_flushed_before_the_rename(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files and directories of the model are flushed before it gets its final name, the parent after."""
    events: list[str] = []
    rename = os.rename

    def noted(source: Path, target: Path) -> None:
        events.append("rename")
        rename(source, target)

    monkeypatch.setattr(commit, "sync_file", lambda path: events.append(f"file {path.name}"))
    monkeypatch.setattr(commit, "sync_directory", lambda path: events.append(f"directory {path.name}"))
    monkeypatch.setattr("os.rename", noted)
    names = {f"file {path.name}" for path in model.iterdir()}
    (tmp_path / "elsewhere").mkdir()
    publish(model, tmp_path / "elsewhere" / "out", tmp_path / "aside")
    at = events.index("rename")
    assert set(events[:at]) == names | {"directory model"}
    assert set(events[at + 1 :]) == {f"directory {tmp_path.name}", "directory elsewhere"}
