"""One expert: what is written, when it is kept, and that it is whole or not there."""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.checkpoint.files import digest_file
from pipeline.errors import CheckpointError, InputError, OutputError, RunError
from pipeline.training import trainer
from pipeline.training.expert import train_expert, train_unit
from pipeline.training.identity import RECORD, model_digest
from pipeline.training.settings import TrainSettings
from pipeline.training.steplog import LOG, Step, last_step, progress_file
from tests.helpers.models import read_tensors
from tests.helpers.tasks import write_rows
from tests.helpers.training import write_home

SETTINGS = TrainSettings(learning_rate=0.01, batch_size=8, precision="float32")


def make(home: Path, out: Path, settings: TrainSettings = SETTINGS) -> dict[str, Any]:
    """Train on the tiny data of `home`."""
    held = [home / "validation.jsonl"]
    return train_expert(home / "base", [home / "train.jsonl"], out, settings, validation=held)


def test_an_expert_is_an_ordinary_checkpoint(tmp_path: Path) -> None:
    """transformers loads it; names, shapes and stored type are the base's, tokenizer files are there."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    home = write_home(tmp_path, dtype="bfloat16")
    out = tmp_path / "experts" / "one"
    make(home, out)
    base, got = read_tensors(home / "base"), read_tensors(out)
    assert {n: (t.shape, t.dtype) for n, t in got.items()} == {n: (t.shape, t.dtype) for n, t in base.items()}
    assert sum(not torch.equal(got[name], base[name]) for name in base) == len(base)
    model = AutoModelForCausalLM.from_pretrained(out)
    assert torch.equal(model.state_dict()["model.norm.weight"], got["model.norm.weight"])
    assert AutoTokenizer.from_pretrained(out)("w5 w6")["input_ids"] == [5, 6]


def test_files_are_readable_by_others_as_far_as_the_user_allows(shared_home: Path, tmp_path: Path) -> None:
    """Every file of an expert has the mode of any new file of this process, the weights too."""
    make(shared_home, tmp_path / "one")
    (tmp_path / "new").touch()
    wanted = stat.S_IMODE((tmp_path / "new").stat().st_mode)
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "one").iterdir()} == {wanted}


def test_tied_weights_are_written_once(tmp_path: Path) -> None:
    """An expert of a base with tied embeddings has the base's tensors and config, no more."""
    home = write_home(tmp_path, tied=True, dtype="float16")
    make(home, tmp_path / "one")
    base, got = read_tensors(home / "base"), read_tensors(tmp_path / "one")
    assert {n: (t.shape, t.dtype) for n, t in got.items()} == {n: (t.shape, t.dtype) for n, t in base.items()}
    was, config = (home / "base/config.json").read_text(), (tmp_path / "one/config.json").read_text()
    assert json.loads(config) == json.loads(was)


def test_several_files_of_both_kinds(shared_home: Path, tmp_path: Path) -> None:
    """Rows of all files are trained on, `limit` counts for each, and every validation file has its score."""
    free = write_rows(tmp_path / "free.jsonl", [{"question": "w5 w6", "answer": "w7 w8"}] * 10)
    files = [shared_home / "train.jsonl", free]
    settings = TrainSettings(**{**SETTINGS.as_dict(), "limit": 8})
    held = [shared_home / "validation.jsonl", free]
    record = train_expert(shared_home / "base", files, tmp_path / "one", settings, validation=held)
    assert (record["examples"], record["steps"]) == (16, 2)
    assert [entry["digest"] for entry in record["train"]] == [digest_file(path) for path in files]
    choice, told = record["scores"][0]["files"]
    assert (choice["examples"], told["examples"]) == (20, 10)
    assert record["validation_score"] == (choice["accuracy"] + math.exp(told["log_likelihood"])) / 2


def test_the_record_says_how_it_was_made(shared_home: Path, tmp_path: Path) -> None:
    """Digests, settings, losses and accuracy are in the record; the log has one line a step, in order."""
    out = tmp_path / "one"
    record = make(shared_home, out)
    assert record == json.loads((out / RECORD).read_text())
    assert record["settings"].items() <= SETTINGS.as_dict().items()
    assert (record["steps"], record["examples"], record["chosen_step"]) == (8, 64, 8)
    assert record["precision"] == "float32"
    (score,) = record["scores"]
    assert score["files"] == [
        {
            "path": str(shared_home / "validation.jsonl"),
            "examples": 20,
            "accuracy": record["validation_score"],
        }
    ]
    steps = [Step(**json.loads(line)) for line in (out / LOG).read_text().splitlines()]
    assert [step.step for step in steps] == list(range(1, 9))
    assert (record["first_loss"], record["last_loss"]) == (steps[0].loss, steps[-1].loss)
    assert record["tokens"] == sum(step.tokens for step in steps)


def test_the_same_input_gives_the_same_weights(shared_home: Path, tmp_path: Path) -> None:
    """Two trainings from equal input write equal weight files, byte for byte, and are the same model."""
    for name in ("one", "two"):
        make(shared_home, tmp_path / name)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert first == second
    assert (tmp_path / "one" / RECORD).read_bytes() != (tmp_path / "two" / RECORD).read_bytes()
    assert model_digest(tmp_path / "one") == model_digest(tmp_path / "two")


def test_a_finished_expert_is_kept(
    shared_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same base, data and settings nothing is trained again and the record is the old one."""
    record = make(shared_home, tmp_path / "one")
    monkeypatch.setattr(trainer, "fine_tune", None)
    assert make(shared_home, tmp_path / "one") == record


@pytest.mark.parametrize("what", ["base", "train", "validation", "settings"])
def test_another_expert_is_never_overwritten(tmp_path: Path, what: str) -> None:
    """A change of base, data or settings is refused by name, and the expert that is there stays."""
    home = write_home(tmp_path)
    out = tmp_path / "one"
    make(home, out)
    before = (out / "model.safetensors").read_bytes()
    settings = SETTINGS
    if what == "base":
        write_home(tmp_path, seed=9)
    elif what == "settings":
        settings = TrainSettings(seed=1)
    else:
        file = home / f"{what}.jsonl"
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(OutputError) as error:
        make(home, out, settings)
    assert error.value.found == f"a different {what}"
    assert (out / "model.safetensors").read_bytes() == before


def test_something_else_in_the_way_is_refused(shared_home: Path, tmp_path: Path) -> None:
    """A directory that holds no expert is left as it is; an empty one is used."""
    out = tmp_path / "one"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError):
        make(shared_home, out)
    assert [file.name for file in out.iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    make(shared_home, tmp_path / "empty")
    assert (tmp_path / "empty" / RECORD).is_file()


def test_a_failed_training_leaves_nothing(
    shared_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When training stops half way, neither the expert, nor its parts, nor its step file remain."""

    def stop(*args: object, on_step: Any, **kw: object) -> None:
        on_step(None, Step(1, 8, 1.0, 1.0, 0.1, 5, 0.1))
        seen.append(last_step(tmp_path / "one"))
        raise RunError("stopped")

    seen: list[Step | None] = []
    monkeypatch.setattr(trainer, "fine_tune", stop)
    with pytest.raises(RunError):
        make(shared_home, tmp_path / "one")
    assert seen == [Step(1, 8, 1.0, 1.0, 0.1, 5, 0.1)]
    assert list(tmp_path.iterdir()) == []


def test_of_two_attempts_the_first_to_finish_is_kept(
    shared_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt that ends second returns the first one's record and leaves its files alone."""
    out = tmp_path / "one"
    real, begun = trainer.fine_tune, []

    def overtaken(*args: Any, **kw: Any) -> None:
        if not begun:
            begun.append(make(shared_home, out, SETTINGS) if begun.append(None) is None else None)
        real(*args, **kw)

    monkeypatch.setattr(trainer, "fine_tune", overtaken)
    assert make(shared_home, out) == begun[1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["one"]


def test_half_a_line_of_progress_is_not_read(tmp_path: Path) -> None:
    """The newest whole step counts; before the first there is none."""
    out = tmp_path / "one"
    assert last_step(out) is None
    line = json.dumps({**Step(3, 8, 1.0, 1.0, 0.1, 5, 0.1).__dict__})
    progress_file(out).write_text(line + "\n" + line[:20])
    step = last_step(out)
    assert step is not None
    assert step.step == 3


def test_a_unit_is_the_same_training(shared_home: Path, tmp_path: Path) -> None:
    """The unit of work gives the record and weights of the function; its payload is plain data."""
    payload = {
        "base": str(shared_home / "base"),
        "train": [str(shared_home / "train.jsonl")],
        "validation": [],
        "out": str(tmp_path / "unit"),
        "settings": SETTINGS.as_dict(),
        "device": "cpu",
    }
    record = train_unit(json.loads(json.dumps(payload)))
    assert "validation_score" not in record
    make(shared_home, tmp_path / "one")
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "unit"))
    assert first == second


def test_bad_input_is_told_before_anything_is_written(shared_home: Path, tmp_path: Path) -> None:
    """No base, or no data, is an input error and leaves no directory."""
    out = tmp_path / "one"
    with pytest.raises(CheckpointError):
        train_expert(tmp_path / "nowhere", [shared_home / "train.jsonl"], out, SETTINGS)
    with pytest.raises(InputError):
        train_expert(shared_home / "base", [tmp_path / "nowhere.jsonl"], out, SETTINGS)
    assert list(tmp_path.iterdir()) == []
