"""One expert: base model and data in, an ordinary Hugging Face checkpoint out, whole or not at all.

`train_expert` is what `mergescale train` runs for each expert; `train_unit` is the same as a unit of work. An
expert is built beside its place and renamed; one that was made from the same base, data and settings is kept.
Training an expert is not resumed inside: an interrupted one starts again.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.checkpoint.files import atomic_write, digest_bytes, digest_file, read_json_object
from pipeline.errors import CheckpointError, OutputError
from pipeline.training.examples import Example, encode, read_examples
from pipeline.training.loop import Step, accuracy, choice_scores, fine_tune, resolve_precision
from pipeline.training.settings import TrainSettings

RECORD = "mergescale_training.json"
LOG = "training_log.jsonl"
#: Part of an expert's identity; raised when the trainer changes in a way that changes its results.
RECIPE = 2
_PARTS = (".safetensors", ".json", ".jinja", ".model", ".txt")


def train_unit(payload: Mapping[str, Any]) -> dict[str, Any]:
    """`train_expert` as a unit of work: paths and settings in, the record out. Uses one thread.

    A second attempt that overlaps the first is harmless: whichever finishes first is kept.
    """
    return train_expert(
        Path(payload["base"]),
        [Path(path) for path in payload["train"]],
        Path(payload["out"]),
        TrainSettings(**payload["settings"]),
        validation=[Path(path) for path in payload["validation"]],
    )


def train_expert(
    base: Path,
    train: Sequence[Path],
    out: Path,
    settings: TrainSettings,
    *,
    validation: Sequence[Path] = (),
    threads: int = 1,
) -> dict[str, Any]:
    """Fine-tune the model in `base` on the rows of the `train` files and save it at `out`; return its record.

    Progress goes to `progress_file(out)`, one JSON line a step. InputError: bad data. CheckpointError: no
    model at `base`. OutputError: something else lies at `out`. RunError: the loss diverged.
    """
    rows = [row for path in train for row in read_examples(path, settings.limit)]
    held = [row for path in validation for row in read_examples(path)]
    identity = expert_identity(base, model_digest(base), train, settings, validation)
    done = finished(out, identity)
    if done is not None:
        return done
    progress = progress_file(out)
    beside = out.with_name(f".{out.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    beside.mkdir(parents=True)
    try:
        steps, measured = _train(base, rows, held, settings, beside, progress, threads)
        record = identity | measured | {"steps": len(steps), "versions": _versions()}
        (beside / LOG).write_text("".join(json.dumps(asdict(step)) + "\n" for step in steps))
        atomic_write(beside / RECORD, json.dumps(record, indent=1).encode())
        return _publish(beside, out, identity, record)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        progress.unlink(missing_ok=True)


def progress_file(out: Path) -> Path:
    """Where the steps of the expert at `out` are written while it trains; gone when it has ended."""
    return out.with_name(f".{out.name}.steps.jsonl")


def last_step(out: Path) -> Step | None:
    """The newest whole step of the expert being trained for `out`, None before its first."""
    try:
        lines = progress_file(out).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return None
    whole = [line for line in lines if line.endswith(b"\n")]
    return Step(**json.loads(whole[-1])) if whole else None


def expert_identity(
    base: Path,
    base_digest: str,
    train: Sequence[Path],
    settings: TrainSettings,
    validation: Sequence[Path],
) -> dict[str, Any]:
    """What decides an expert: digests of base and data, settings, the trainer's recipe."""
    return {
        "base": {"path": str(base), "digest": base_digest},
        "train": [_named(path) for path in train],
        "validation": [_named(path) for path in validation],
        "settings": settings.as_dict(),
        "recipe": RECIPE,
    }


def _named(path: Path) -> dict[str, str]:
    """A data file as the identity has it."""
    return {"path": str(path), "digest": digest_file(path)}


def model_digest(path: Path) -> str:
    """xxh3_128 of a model directory's weights, config and tokenizer files, by name and content."""
    if not (path / "config.json").is_file() or not any(path.glob("*.safetensors")):
        raise CheckpointError(
            "no model to train from",
            where=str(path),
            expected="a directory with config.json and *.safetensors",
            hint="give a local model directory as base",
        )
    files = sorted(file for file in path.iterdir() if file.suffix in _PARTS and not file.name.startswith("."))
    return digest_bytes(json.dumps([[file.name, digest_file(file)] for file in files]).encode())


def finished(out: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of the expert at `out` if it has this identity, None if nothing is there.

    OutputError when something is there that was not made from the same base, data and settings.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / RECORD).is_file():
        raise OutputError(
            "the output directory holds something else", where=str(out), expected=f"nothing, or {RECORD}"
        )
    record = read_json_object(out / RECORD)
    changed = [key for key in identity if _content(record.get(key)) != _content(identity[key])]
    if changed:
        raise OutputError(
            "another expert lies in the output directory",
            where=str(out),
            found=f"a different {', '.join(changed)}",
            hint="remove the directory or choose another",
        )
    return record


def _content(value: Any) -> Any:
    """The part of an identity's entry that counts: where a file lies does not."""
    if isinstance(value, list):
        return [_content(entry) for entry in value]
    return value["digest"] if isinstance(value, dict) and "digest" in value else value


def _train(
    base: Path,
    rows: Sequence[Example],
    held: Sequence[Example],
    settings: TrainSettings,
    beside: Path,
    progress: Path,
    threads: int,
) -> tuple[list[Step], dict[str, Any]]:
    """Load, train, save into `beside`, validate what was saved. Returns the steps and what was measured."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    torch.set_num_threads(threads)
    disable_progress_bar()  # transformers' own, for loading and saving; the steps are progress enough
    started = time.monotonic()
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    stored = getattr(torch, _stored_dtype(base))
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    encoded = [encode(tokenizer, row.question, row.answer, settings.max_length) for row in rows]
    steps: list[Step] = []
    with progress.open("w", encoding="utf-8") as log:

        def on_step(step: Step) -> None:
            steps.append(step)
            log.write(json.dumps(asdict(step)) + "\n")
            log.flush()

        fine_tune(model, encoded, settings, pad_id=pad_id, on_step=on_step)
    model.to(stored)
    model.save_pretrained(beside)
    tokenizer.save_pretrained(beside)
    measured: dict[str, Any] = {
        "precision": resolve_precision(settings.precision),
        "examples": len(rows),
        "tokens": sum(step.tokens for step in steps),
        "first_loss": steps[0].loss,
        "last_loss": steps[-1].loss,
        "train_s": round(steps[-1].elapsed_s, 3),
    }
    if held:  # the saved weights are what counts: rounded to the stored type, computed with in fp32
        scores = choice_scores(model.to(torch.float32), tokenizer, held, settings, pad_id=pad_id)
        measured |= {"validation_accuracy": accuracy(scores, held), "validation_examples": len(held)}
    return steps, measured | {"elapsed_s": round(time.monotonic() - started, 3)}


def _stored_dtype(base: Path) -> str:
    """The type of the base's weights, as its config names it: the expert is saved in the same."""
    config = read_json_object(base / "config.json")
    return str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")


def _publish(beside: Path, out: Path, identity: Mapping[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Rename the finished expert to its place. If another attempt was first, its record counts."""
    try:
        os.rename(beside, out)
    except OSError:  # something lies there that is no empty directory
        other = finished(out, identity)
        if other is None:
            raise
        return other
    return record


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("mergescale", "torch", "transformers")}
