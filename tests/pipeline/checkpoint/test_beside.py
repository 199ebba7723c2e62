"""Which files go along with a merge, wherever the model lies."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.checkpoint.beside import fetched_for_planning, folders_of, goes_along
from pipeline.checkpoint.companions import companion_notes, plan_companions, write_companions
from pipeline.checkpoint.locate import read_index
from pipeline.checkpoint.remote import small_files
from pipeline.errors import CheckpointError, shown
from pipeline.untrusted import SMALL_BYTES
from pipeline.values import ModelRef
from tests.helpers.models import write_model

ALONG = [
    "spm.model",
    "bpe.codes",
    "vocab.korean.rawtext",
    "emoji table.txt",
    "labels.txt",
    "LICENSE",
    "USE_POLICY.md",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
    "additional_chat_templates/tool.jinja",
    "qformer_tokenizer/tokenizer.json",
]
NOT_ALONG = [
    "pytorch_model.bin",
    "model-q4.gguf",
    "tf_model.h5",
    "pytorch_model.bin.index.json",
    "adapter_config.json",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state_0.pth",
    "trainer_state.json",
    "training_args.json",
    "eval_results.json",
    "train.log",
    "events.out.tfevents.123",
    "README.md",
    "readme_zh.md",
    "model_card.md",
    "benchmark.PNG",
    "mergescale_manifest.json",
    "mergescale_training.json",
    "mergekit_config.yml",
    "training_log.jsonl",
    "loss.svg",
    ".gitattributes",
    ".git/config",
    "checkpoint-500/config.json",
    "runs/events",
    "onnx/config.json",
    "original/tokenizer.model",
    "modeling_own.py",
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An embedding model with every kind of file beside it."""
    path = write_model(tmp_path / "model", shards=2)
    for name in ALONG + NOT_ALONG:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(json.dumps({"from": name}))
    modules = [{"path": folder, "type": "library.Module"} for folder in ("", "1_Pooling", "2_Dense/")]
    (path / "modules.json").write_text(json.dumps(modules))
    return path


def copied(path: Path, out: Path) -> list[str]:
    """Copy a model's companions and return their names."""
    out.mkdir()
    write_companions(plan_companions(read_index(ModelRef(str(path))), out_dtype=None), out)
    return sorted(file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file())


def test_every_small_file_goes_along_but_what_is_refused(model: Path, tmp_path: Path) -> None:
    """A name that nobody foresaw is copied with its bytes; weights, states, cards and records are not."""
    assert copied(model, tmp_path / "out") == sorted([*ALONG, "config.json"])
    for name in ALONG:
        assert (tmp_path / "out" / name).read_bytes() == (model / name).read_bytes()


def test_a_model_elsewhere_gives_the_same_files(model: Path, tmp_path: Path) -> None:
    """What is fetched for planning holds all that a directory's merge copies, and no weights or cards."""
    sizes = {
        file.relative_to(model).as_posix(): file.stat().st_size for file in model.rglob("*") if file.is_file()
    }
    fetched = set(small_files(sizes))
    assert set(copied(model, tmp_path / "out")) <= fetched
    read = {"model.safetensors.index.json", "adapter_config.json", "modeling_own.py"}
    assert fetched & set(NOT_ALONG) <= read


def test_what_is_too_large_is_not_fetched_unless_it_must_be(model: Path) -> None:
    """A large file of unknown use stays where it is; a tokenizer of that size is left to be refused."""
    sizes = {"config.json": 1, "data.zip": SMALL_BYTES + 1, "tokenizer.json": SMALL_BYTES + 1}
    assert fetched_for_planning(sizes, ["config.json"]) == ["config.json", "tokenizer.json"]


def test_a_large_file_of_unknown_use_is_left_out_with_a_note(model: Path, tmp_path: Path) -> None:
    """Data beside the weights is not copied, which is said."""
    with (model / "corpus.zip").open("wb") as file:
        file.truncate(SMALL_BYTES + 1)
    assert "corpus.zip" not in copied(model, tmp_path / "out")
    (note,) = companion_notes(read_index(ModelRef(str(model))))
    assert note == "corpus.zip is not copied: it has more than 268,435,456 bytes"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("name", "put", "reason"),
    [
        ("data", lambda path: path.symlink_to("gone"), "a link to a file that is gone"),
        ("a.sock", os.mkfifo, "a pipe, a device or the like, not a regular file"),
        ("notes.md", lambda path: path.symlink_to("/dev/zero"), "a link to /dev/zero, not a file in the"),
        ("a\u3000b", Path.touch, "'a\\u3000b', not a name of printable text"),
    ],
    ids=["gone", "pipe", "away", "name"],
)
def test_what_no_loader_reads_stops_no_merge(
    name: str, put: Callable[[Path], None], reason: str, model: Path, tmp_path: Path
) -> None:
    """A stray thing of a name that no loader looks for is left out, and a note says so and why."""
    put(model / name)
    assert copied(model, tmp_path / "out") == sorted([*ALONG, "config.json"])
    (note,) = companion_notes(read_index(ModelRef(str(model))))
    assert note.startswith(f"left out: {shown(name)}, which cannot be copied: {reason}")


@pytest.mark.parametrize(
    "name", ["source.spm", "bpe.codes", "x.jinja", "a\u3000b.json", "2_Dense/config.json"]
)
def test_what_loaders_read_is_never_left_out(name: str, model: Path) -> None:
    """A thing that cannot be copied and whose name loaders look for is an error, wherever it lies."""
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to("gone")
    with pytest.raises(CheckpointError) as caught:
        plan_companions(read_index(ModelRef(str(model))), out_dtype=None)
    assert caught.value.where == str(model / name)


def test_hidden_code_is_no_code(model: Path, tmp_path: Path) -> None:
    """An editor's hidden link beside custom code is not taken for code."""
    (model / "modules.json").write_text(json.dumps([{"path": "", "type": "modeling_own.Own"}]))
    (model / ".#modeling_own.py").symlink_to("user@host.1")
    out = copied(model, tmp_path / "out")
    assert "modeling_own.py" in out and ".#modeling_own.py" not in out


def test_weights_of_further_modules_are_kept_and_said(model: Path, tmp_path: Path) -> None:
    """The weights of an embedding model's further module are the companion's, and pickles are left out."""
    (model / "2_Dense" / "model.safetensors").write_bytes(b"weights")
    (model / "1_Pooling" / "pytorch_model.bin").write_bytes(b"pickle")
    out = copied(model, tmp_path / "out")
    assert "2_Dense/model.safetensors" in out and "1_Pooling/pytorch_model.bin" not in out
    notes = companion_notes(read_index(ModelRef(str(model))))
    assert notes == (
        f'2_Dense/model.safetensors is not merged: the merged model gets that of "{model}"',
        "1_Pooling/ holds weights in PyTorch pickles, which are not copied",
    )


def test_code_of_a_module_comes_along(model: Path, tmp_path: Path) -> None:
    """A class of modules.json whose code lies in the model brings that code."""
    modules = [{"path": "", "type": "modeling_own.Own"}]
    (model / "modules.json").write_text(json.dumps(modules))
    assert "modeling_own.py" in copied(model, tmp_path / "out")


@pytest.mark.parametrize("path", ["..", "/etc", "a/b", ".git", 7, None, "x\ny"])
def test_folders_that_modules_may_not_name(path: object) -> None:
    """modules.json cannot send the copying out of the model, deeper into it, or to hidden files."""
    folders = folders_of([{"path": path}, "odd", {}])
    assert not any(goes_along(f"{folder}/x.json", folders) for folder in (str(path), ".git", "a"))


@pytest.mark.parametrize("modules", [None, [], {}, "text", 7])
def test_odd_modules_name_no_folders(modules: object) -> None:
    """Whatever JSON stands in modules.json, it is read as a list of modules or not at all."""
    assert folders_of(modules) == folders_of(None)
