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

from pipeline.checkpoint.commit import verify
from pipeline.errors import RunError
from pipeline.staging import Staging
from pipeline.work_directory import work_directory
from tests.helpers.crash import killed_at
from tests.helpers.merging import merge, small_tiles, weight_bytes, write_config
from tests.helpers.models import write_family


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TIES merge over the whole model, in many small units and several files."""
    small_tiles(monkeypatch, unit_bytes=2000)
    base, experts = write_family(tmp_path / "models", experts=2, dtype="bfloat16", tokenizer=True)
    return write_config(tmp_path / "merge.json", "ties-model", base, experts)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the merges go."""
    return tmp_path / "place" / "out"


def run(config: Path, out: Path, *, fresh: bool = False) -> None:
    """The merge."""
    merge(config, out, shard_size_bytes=4000, fresh=fresh)


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
        run(config, out)
    assert moved and not out.exists()
    shutil.rmtree(work_directory(out), ignore_errors=True)
    moved[0].rename(work_directory(out))
    run(config, out)
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
        run(config, out)
    assert told in caught.value.found and not out.exists()


def test_a_companion_that_is_gone_is_not_published_on_resume(config: Path, out: Path) -> None:
    """A file that an earlier run furnished and that the model no more has is taken out of the staging."""
    assert killed_at("pipeline.underway:publish", 1, lambda: run(config, out))
    (model,) = work_directory(out).glob("model-*")
    base = Path(json.loads(config.read_text())["base_model"])
    assert (model / "tokenizer.json").exists()
    (base / "tokenizer.json").rename(base / "vocab.json")
    run(config, out)
    assert not (out / "tokenizer.json").exists() and (out / "vocab.json").exists()
    verify(out)


def test_an_old_model_comes_back_when_its_replacement_is_given_up(config: Path, out: Path) -> None:
    """Killed between the two renames of a replacement, the old model is whole in the work directory; the same
    command finishes, and starting over puts it back first.
    """
    run(config, out)
    old = weight_bytes(out)
    other = config.with_name("other.json")
    other.write_text(config.read_text().replace('"density": 0.3', '"density": 0.4'))
    assert killed_at("os:rename", 2, lambda: run(other, out, fresh=True))
    replaced = work_directory(out) / "replaced"
    assert not out.exists() and weight_bytes(replaced) == old
    assert killed_at("pipeline.staging:Staging._prepare", 1, lambda: run(config, out, fresh=True))
    assert weight_bytes(out) == old
    run(other, out, fresh=True)
    new = weight_bytes(out)
    assert new != old and not work_directory(out).exists()
    run(config, out, fresh=True)
    assert killed_at("os:rename", 2, lambda: run(other, out, fresh=True))
    run(other, out)
    assert weight_bytes(out) == new and not work_directory(out).exists()
