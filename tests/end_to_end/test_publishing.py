"""What is published is what was planned: proven right before the rename, whatever happened to the work
directory meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import plan_record
from pipeline.checkpoint.commit import verify
from pipeline.errors import OutputError, RunError
from pipeline.staging import Staging
from pipeline.work_directory import work_directory
from tests.helpers.crash import killed_at
from tests.helpers.merging import (
    merge_into_files,
    ties_in_small_units,
    weight_bytes,
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TIES merge over the whole model, in many small units and several files."""
    return ties_in_small_units(tmp_path, monkeypatch)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the merges go."""
    return tmp_path / "place" / "out"


@pytest.mark.parametrize("point", ["pipeline.underway:furnish", "pipeline.underway:publish"])
def test_a_work_directory_moved_away_publishes_nothing(
    point: str, config: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scratch cleaner that takes the work directory at the end of the merge leaves no model, and above all
    none without weights; brought back, the merge is finished.
    """
    original, moved = Staging.prove, []

    def prove(self: Staging, *, complete: bool) -> None:
        if complete is (point == "pipeline.underway:publish") and not moved:
            moved.append(self.root.rename(tmp_path / "cleaned"))
        original(self, complete=complete)

    monkeypatch.setattr(Staging, "prove", prove)
    with pytest.raises(RunError, match="not published"):
        merge_into_files(config, out)
    assert moved and not out.exists()
    shutil.rmtree(work_directory(out), ignore_errors=True)
    moved[0].rename(work_directory(out))
    merge_into_files(config, out)
    verify(out)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda model: max(model.glob("*.safetensors")).unlink(), "missing"),
        (lambda model: os.truncate(max(model.glob("*.safetensors")), 700), "700 bytes instead of"),
        (lambda model: (model / "config.json").unlink(), "config.json: missing"),
        (lambda model: (model / "modeling_evil.py").write_text("import os"), "modeling_evil.py: not of this"),
        (lambda model: (model / "pytorch_model.bin").symlink_to("/etc/passwd"), "pytorch_model.bin"),
    ],
)
def test_only_what_was_planned_is_published(
    change: Callable[[Path], object], told: str, config: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the plan lists is published, with its sizes and headers, and nothing else: whatever somebody takes
    away or puts there while the merge runs.
    """
    from pipeline import underway

    original = underway.furnish

    def furnish(plan: object, staging: Staging, *rest: object) -> object:
        found = original(plan, staging, *rest)  # type: ignore[arg-type]  # passed on as they came
        change(staging.model)
        return found

    monkeypatch.setattr(underway, "furnish", furnish)
    with pytest.raises(RunError, match="not published") as caught:
        merge_into_files(config, out)
    assert told in caught.value.found and not out.exists()


def test_what_an_earlier_run_furnished_and_this_one_does_not_is_taken_out(config: Path, out: Path) -> None:
    """A file that the marker lists and that this run's model does not have is not published on resume, nor
    what a killed write left; only names of ours are removed.
    """
    assert killed_at("pipeline.underway:publish", 1, lambda: merge_into_files(config, out))
    root = work_directory(out)
    (model,) = root.glob("model-*")
    marker = json.loads((root / "owner.json").read_text())
    marker["files"] += ["vocab.json", "templates/old.jinja"]
    (root / "owner.json").write_text(json.dumps(marker))
    (model / "templates").mkdir()
    for name in ("vocab.json", "templates/old.jinja", ".config.json.12.0123abcd.tmp"):
        (model / name).write_text("{}")
    merge_into_files(config, out)
    assert {"vocab.json", "templates"}.isdisjoint(path.name for path in out.iterdir())
    assert not list(out.glob(".*"))
    verify(out)


def test_a_kill_while_a_companion_is_copied_is_resumed(config: Path, out: Path) -> None:
    """Killed at any step of copying the files beside the weights, whatever is left is ours: the same command
    finishes, and nothing half copied is published.
    """
    stops = 0
    while killed_at("pipeline.checkpoint.copying:_pieces", stops + 1, lambda: merge_into_files(config, out)):
        stops += 1
        left = [*work_directory(out).glob("model-*/.*.tmp")]
        if left:
            break
    else:
        raise AssertionError("no copy was killed half way")
    merge_into_files(config, out)
    assert not list(out.glob(".*"))
    verify(out)


def test_an_old_model_comes_back_when_its_replacement_is_given_up(config: Path, out: Path) -> None:
    """Killed between the two renames of a replacement, the old model is whole in the work directory; the same
    command finishes, and starting over puts it back first.
    """
    merge_into_files(config, out)
    old = weight_bytes(out)
    other = config.with_name("other.json")
    other.write_text(config.read_text().replace('"density": 0.3', '"density": 0.4'))
    assert killed_at("os:rename", 2, lambda: merge_into_files(other, out, fresh=True))
    replaced = work_directory(out) / "replaced"
    assert not out.exists() and weight_bytes(replaced) == old
    assert killed_at(
        "pipeline.staging:Staging._prepare", 1, lambda: merge_into_files(config, out, fresh=True)
    )
    assert weight_bytes(out) == old
    merge_into_files(other, out, fresh=True)
    new = weight_bytes(out)
    assert new != old and not work_directory(out).exists()
    merge_into_files(config, out, fresh=True)
    assert killed_at("os:rename", 2, lambda: merge_into_files(other, out, fresh=True))
    merge_into_files(other, out)
    assert weight_bytes(out) == new and not work_directory(out).exists()


@pytest.mark.parametrize("name", ["config.json", "model-00001-of", "model.safetensors.index.json"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 5)])
def test_done_is_what_is_there(name: str, damage: Callable[[Path], object], config: Path, out: Path) -> None:
    """A merge whose output lost a file, or a part of one, is not called done; the error says what is wrong
    and how to merge again.
    """
    merge_into_files(config, out)
    path = next(path for path in out.iterdir() if path.name.startswith(name))
    damage(path)
    with pytest.raises(OutputError, match="not complete") as caught:
        merge_into_files(config, out)
    assert path.name in caught.value.found and "--fresh" in caught.value.hint
    if path.exists() and path.suffix != ".safetensors":
        path.unlink()
    merge_into_files(config, out, fresh=True)
    verify(out)


def test_an_edited_card_is_done_still(config: Path, out: Path) -> None:
    """A model card that was edited does not make a merge incomplete, and stays as it is."""
    merge_into_files(config, out)
    with (out / "README.md").open("a") as card:
        card.write("Use it well.\n")
    merge_into_files(config, out)
    assert (out / "README.md").read_text().endswith("Use it well.\n")


def rewrite(path: Path) -> None:
    """Other bytes in the same file, of the same size."""
    data = bytearray(path.read_bytes())
    data[-64:] = bytes(64)
    path.write_bytes(data)


def replace_unseen(path: Path) -> None:
    """Another file in its place, of the same size and time of change."""
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[:-64] + bytes(64))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(path)


@pytest.mark.parametrize("change", [rewrite, replace_unseen, Path.unlink, lambda path: os.truncate(path, 9)])
def test_an_input_changed_while_it_is_read_is_never_published(
    change: Callable[[Path], None], config: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input that is not the planned one any more when all was read ends the run, and names the file."""
    from pipeline.run import _Run

    expert = Path(json.loads(config.read_text())["models"][1]["model"])
    file, original = next(expert.glob("*.safetensors")), _Run.seal

    def seal(self: _Run) -> list[dict[str, str]]:
        change(file)
        return original(self)

    monkeypatch.setattr(_Run, "seal", seal)
    with pytest.raises(RunError, match="changed while the merge ran") as caught:
        merge_into_files(config, out)
    assert caught.value.where == str(file) and caught.value.found and not out.exists()
    monkeypatch.setattr(_Run, "seal", original)
    if (
        change is replace_unseen
    ):  # the same command says so again; starting over counts on nothing of this run
        with pytest.raises(OutputError, match="has changed since"):
            merge_into_files(config, out)
        merge_into_files(config, out, fresh=True)
        merge_into_files(config, out.with_name("calm"))
        assert weight_bytes(out) == weight_bytes(out.with_name("calm"))


@pytest.mark.parametrize("kind", ["replaced", "permissions", "renumbered", "older"])
def test_a_run_goes_on_with_the_very_files_it_began_with(kind: str, config: Path, out: Path) -> None:
    """A killed run is not continued on a file that was put in an input's place, of the same size and time; it
    is where an input only looks new, or where the plan file of an older version does not tell.
    """
    expert = Path(json.loads(config.read_text())["models"][1]["model"])
    file = next(expert.glob("*.safetensors"))
    assert killed_at("pipeline.run:_Run.seal", 1, lambda: merge_into_files(config, out))
    noted = work_directory(out) / "plan.json"
    content = json.loads(noted.read_text())
    if kind == "replaced":
        replace_unseen(file)
        with pytest.raises(OutputError, match="has changed since") as caught:
            merge_into_files(config, out)
        assert caught.value.where == str(file) and "--fresh" in caught.value.hint
        merge_into_files(config, out, fresh=True)
    elif kind == "permissions":
        file.chmod(0o400)
    for record in content["input_files"]:
        if kind == "renumbered":
            record["inode"] += 1
        elif kind == "older":
            del record["inode"], record["ctime_ns"]
    if kind in ("renumbered", "older"):
        noted.write_text(json.dumps(content))
    merge_into_files(config, out)
    verify(out)


@pytest.mark.parametrize("kind", ["permissions", "numbers"])
def test_inputs_that_only_look_new_are_published(
    kind: str, config: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other permissions make no other input, nor does a mount that numbers its files anew."""
    original = plan_record._change

    def change(noted: plan_record.PlannedFile) -> str:
        if kind == "permissions":
            Path(noted["path"]).chmod(0o400)
            return original(noted)
        return original({**noted, "inode": noted["inode"] + 1})

    monkeypatch.setattr(plan_record, "_change", change)
    merge_into_files(config, out)
    verify(out)
