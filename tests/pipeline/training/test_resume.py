"""Interrupted experts: killed at any point, the same command goes on and ends in the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RunError
from pipeline.training import expert as room
from pipeline.training import trainer
from pipeline.training.attempt import key_of, newest, workspace
from pipeline.training.examples import read_examples
from pipeline.training.expert import RECORD, train_expert
from pipeline.training.scoring import hold, score_files
from pipeline.training.settings import TrainSettings
from pipeline.training.steplog import LOG
from tests.helpers.crash import killed_at
from tests.helpers.training import load_model, write_home

BASIC: dict[str, Any] = {
    "learning_rate": 0.01,
    "batch_size": 8,
    "epochs": 2,
    "precision": "float32",
    "save_every": 3,
    "evaluate_every": 5,
}
STEPS = 16


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with dropout, so that a random state that is not restored shows; and the whole expert."""
    home = write_home(tmp_path_factory.mktemp("resume"), dtype="bfloat16")
    file = home / "base" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"attention_dropout": 0.2}))
    make(home, home / "whole")
    return home


def make(home: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """Train on the tiny data of `home`."""
    settings = TrainSettings(**(BASIC | changes))
    held = [home / "validation.jsonl"]
    return train_expert(home / "base", [home / "train.jsonl"], out, settings, validation=held)


def steps_taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the steps that are trained from now on."""
    taken: list[int] = []
    log = trainer.AnswerTrainer.log

    def spy(self: Any, logs: dict[str, float], start_time: float | None = None) -> None:
        if "grad_norm" in logs:
            taken.append(self.state.global_step)
        log(self, logs, start_time)

    monkeypatch.setattr(trainer.AnswerTrainer, "log", spy)
    return taken


@pytest.mark.parametrize(
    ("point", "call", "resumed_at"),
    [
        ("pipeline.training.expert:_Run._after", 2, 0),
        ("pipeline.training.expert:_Run._after", 9, 6),
        ("pipeline.training.attempt:atomic_write", 1, 0),
        ("pipeline.training.attempt:atomic_write", 3, 6),
        ("pipeline.training.attempt:shutil.rmtree", 1, 6),
        ("transformers.trainer:Trainer._save_rng_state", 2, 3),
        ("pipeline.training.saving:write_companions", 2, 9),
        ("pipeline.training.expert:publish", 1, 15),
    ],
)
def test_a_killed_training_goes_on_to_the_same_bytes(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    call: int,
    resumed_at: int,
) -> None:
    """Killed between steps, in a checkpoint, in a save or before the rename: weights, log and scores are
    those of a run that nobody touched; only what came after the last whole checkpoint is trained again.
    """
    out = tmp_path / "one"
    assert killed_at(point, call, lambda: make(home, out))
    assert not out.exists()
    taken = steps_taken(monkeypatch)
    record, whole = make(home, out), json.loads((home / "whole" / RECORD).read_text())
    assert taken == list(range(resumed_at + 1, STEPS + 1))
    assert (out / "model.safetensors").read_bytes() == (home / "whole/model.safetensors").read_bytes()
    assert {file.name for file in out.iterdir()} == {file.name for file in (home / "whole").iterdir()}
    for name in ("scores", "chosen_step", "first_loss", "last_loss", "tokens", "steps"):
        assert record[name] == whole[name]
    losses = [
        [json.loads(line)["loss"] for line in (folder / LOG).read_text().splitlines()]
        for folder in (out, home / "whole")
    ]
    assert losses[0] == losses[1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["one"]


def test_the_best_checkpoint_is_kept(home: Path) -> None:
    """Every look at the validation data is in the record; the first of the best is what was published: its
    weights, read back from disk, score what the record says.
    """
    record = json.loads((home / "whole" / RECORD).read_text())
    scores = {score["step"]: score["score"] for score in record["scores"]}
    best = max(scores.values())
    assert list(scores) == [5, 10, 15, 16]
    assert record["validation_score"] == best
    assert record["chosen_step"] == next(step for step, score in scores.items() if score == best) < 16
    model, tokenizer = load_model(home / "whole")
    held = hold(Path("v"), read_examples(home / "validation.jsonl"), tokenizer, 64)
    assert score_files(model, [held], 0, pad_id=0, precision="float32").score == best


@pytest.mark.parametrize("changes", [{"seed": 1}, {"learning_rate": 0.02}, {"precision": "bfloat16"}])
def test_a_checkpoint_of_other_settings_is_never_taken(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """A run with another seed, rate or precision starts at its first step; what it leaves is only itself."""
    out = tmp_path / "one"
    assert killed_at("pipeline.training.expert:_Run._after", 9, lambda: make(home, out))
    taken = steps_taken(monkeypatch)
    make(home, out, **changes)
    assert taken == list(range(1, STEPS + 1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["one"]


def test_when_to_save_decides_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another `save_every` goes on from the same checkpoints, and an expert made with it is the same one."""
    out = tmp_path / "one"
    assert killed_at("pipeline.training.expert:_Run._after", 9, lambda: make(home, out))
    taken = steps_taken(monkeypatch)
    record = make(home, out, save_every=None)
    assert taken[0] == 7
    assert make(home, out) == record


def test_checkpoints_come_with_time_unless_counted(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `save_every` none is written in the first two minutes, and one a step when they are over."""
    out = tmp_path / "one"
    saved: list[int] = []
    monkeypatch.setattr(room, "mark_whole", lambda checkpoint, memory: saved.append(memory.steps[-1].step))
    make(home, out, save_every=None)
    assert saved == []
    monkeypatch.setattr(room, "_SAVE_EVERY_S", 0.0)
    make(home, tmp_path / "two", save_every=None)
    assert saved == list(range(1, STEPS))


def test_a_failure_keeps_the_checkpoint(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an error stops goes on from its last checkpoint too."""
    after = room._Run._after

    def stop(self: Any, trainer: Any, step: Any) -> bool:
        if step.step == 8:
            raise RunError("the disk is full")
        return after(self, trainer, step)

    with monkeypatch.context() as patch:
        patch.setattr(room._Run, "_after", stop)
        with pytest.raises(RunError):
            make(home, tmp_path / "one")
    taken = steps_taken(monkeypatch)
    make(home, tmp_path / "one")
    assert taken[0] == 7
    assert (tmp_path / "one/model.safetensors").read_bytes() == (
        home / "whole/model.safetensors"
    ).read_bytes()


def test_attempts_that_overlap_work_apart(tmp_path: Path) -> None:
    """While one attempt holds the folder another gets one of its own, and neither removes the other's."""
    out, key = tmp_path / "one", key_of({"a": 1})
    with workspace(out, key) as first:
        with workspace(out, key) as second:
            assert second != first
            assert second.is_dir()
        assert not second.exists()
        assert first.is_dir()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RunError), workspace(out, key) as third:
        (third / "checkpoint-3").mkdir()
        (third / "checkpoint-3/mark.json").write_text('{"steps": [], "scores": []}')
        raise RunError("stopped")
    found = newest(first)
    assert found is not None
    assert found[0].name == "checkpoint-3"
