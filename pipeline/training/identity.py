"""What decides an expert, and whether what lies at its place is that expert. Trains nothing.

An expert's record names digests of base and data, the settings and the trainer's recipe; a place that holds
the record of another expert is refused, never overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.checkpoint.files import digest_bytes, digest_file, read_json_object
from pipeline.checkpoint.plain_files import check_plain_files
from pipeline.errors import CheckpointError, OutputError
from pipeline.training.examples import adds_tokens
from pipeline.training.settings import TrainSettings
from pipeline.training.zero import zero_config

RECORD = "mergescale_training.json"
#: Part of an expert's identity; raised when the trainer changes in a way that changes its results. Where the
#: tokenizer adds tokens of its own, the second: training left them out once.
RECIPE, RECIPE_WITH_ADDED_TOKENS = 2, 3
#: Settings that do not: when something is written; DeepSpeed counts by what its file says.
_NOT_DECIDING = ("save_every", "deepspeed")
_PARTS = (".safetensors", ".json", ".jinja", ".model", ".txt")


def expert_identity(
    base: Path,
    base_digest: str,
    train: Sequence[Path],
    settings: TrainSettings,
    validation: Sequence[Path],
    recipe: int,
) -> dict[str, Any]:
    """What decides an expert: digests of base and data, settings, the trainer's recipe (`recipe_for`)."""
    identity = {
        "base": {"path": str(base), "digest": base_digest},
        "train": [_named(path) for path in train],
        "validation": [_named(path) for path in validation],
        "settings": {name: value for name, value in settings.as_dict().items() if name not in _NOT_DECIDING},
        "recipe": recipe,
    }
    if settings.deepspeed is not None:
        identity["deepspeed"] = zero_config(settings.deepspeed)
    return identity


def recipe_for(tokenizer: Any) -> int:
    """The recipe of experts whose base has this tokenizer."""
    return RECIPE_WITH_ADDED_TOKENS if adds_tokens(tokenizer) else RECIPE


def _named(path: Path) -> dict[str, str]:
    """A data file as the identity has it."""
    return {"path": str(path), "digest": digest_file(path)}


def model_digest(path: Path) -> str:
    """xxh3_128 of a model directory's weights, config and tokenizer files, by name and content.

    How the model was made is not part of it: one trained again to the same weights is the same model.
    """
    if not (path / "config.json").is_file() or not any(path.glob("*.safetensors")):
        raise CheckpointError(
            "no model to train from",
            where=str(path),
            expected="a directory with config.json and *.safetensors",
            hint="give a local model directory as base",
        )
    check_plain_files(path)
    files = sorted(
        file
        for file in path.iterdir()
        if file.suffix in _PARTS and not file.name.startswith(".") and file.name != RECORD
    )
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
    changed = [key for key in identity if content_of(record.get(key)) != content_of(identity[key])]
    if changed:
        raise OutputError(
            "another expert lies in the output directory",
            where=str(out),
            found=f"a different {', '.join(changed)}",
            hint="remove the directory or choose another",
        )
    return record


def content_of(value: Any) -> Any:
    """The part of an identity that counts: where a file lies does not."""
    if isinstance(value, list):
        return [content_of(entry) for entry in value]
    if isinstance(value, dict):
        return (
            value["digest"] if "digest" in value else {key: content_of(part) for key, part in value.items()}
        )
    return value
