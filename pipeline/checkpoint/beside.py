"""Which files beside a model's weights go with them into a merge. Pure: decides on names and sizes alone, so
that a directory, a Hub repository and a bucket agree.

Everything small goes along but what is refused here: weights, the state of a training, records and cards that
describe the other model. Code is decided elsewhere, by who points to it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from pipeline.checkpoint.choose import CONFIG_NAME, COPIED, matches
from pipeline.untrusted import SMALL_BYTES, is_relative_name

MODULES_NAME = "modules.json"
TEMPLATES_DIRECTORY = "additional_chat_templates"
#: Folders whose files go along; those of an embedding model's modules stand in its modules.json.
_FOLDERS = (TEMPLATES_DIRECTORY, "qformer_tokenizer")
#: Shell patterns of names in small letters.
_REFUSED = (
    # Weights of any format, and where their bytes lie.
    *("*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.gguf", "*.ggml", "*.onnx"),
    *("*.onnx_data", "*.onnx.data", "*.tflite", "*.distcp", "*.npz", "*.npy", "*.nemo", "*.mlmodel", "*.pb"),
    *("*.engine", "*.pkl", "*.pickle", "*.joblib", "*.ot", "*.index.json", "adapter_config.json"),
    # The state of a training, its results and logs.
    *("optimizer*", "scheduler*", "rng_state*", "trainer_state.json", "training_args.*", "*_results.json"),
    *("*_results.txt", "trainer_log.jsonl", "training_log.*", "*.log", "events.out.tfevents*", "loss.svg"),
    *("latest", "*.pyc", "*.tmp", "*.part", "*.lock", "*.incomplete", "*~"),
    # Cards, their pictures, and records of how the other model was made.
    *("readme*", "model_card*", "modelcard*", "mergescale_*", "mergekit_config.y*ml"),
    *("*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg", "*.webp", "*.pdf", "*.mp4"),
)
#: Ends of names that loaders look for: JSON, tokenizers, vocabularies, templates, weights, code.
_LOADED = (
    *(".json", ".model", ".txt", ".jinja", ".tiktoken", ".safetensors", ".py"),
    *(".spm", ".codes", ".bpe", ".vocab", ".rawtext", ".tokenizer"),
)
#: Beginnings of such names, whatever their end: tokenizer.model.v3, vocab.korean.
_LOADED_FROM = ("tokenizer", "vocab", "merges")
_CODE = ".py"
_NUMBERED = re.compile(r"\d+_[^/]+")


def goes_along(name: str, folders: Collection[str] = _FOLDERS) -> bool:
    """Whether a file, by its relative path, goes along: it lies beside the weights or in one of `folders`."""
    folder, _, own = name.rpartition("/")
    if any(part.startswith(".") for part in name.split("/")) or (folder and folder not in folders):
        return False
    if name == CONFIG_NAME or own.endswith(_CODE):
        return False
    return not any(fnmatchcase(own.lower(), pattern) for pattern in _REFUSED)


def is_module_weights(name: str, folders: Collection[str]) -> bool:
    """Whether a file holds the weights of an embedding model's further module, which a merge leaves alone."""
    folder, _, own = name.rpartition("/")
    return bool(folder) and folder in folders and own.endswith(".safetensors")


def is_needed(name: str) -> bool:
    """Whether a file is known to belong to a tokenizer or the like, so that none may be too large."""
    return matches(name, COPIED)


def is_loaded(name: str) -> bool:
    """Whether loaders look for a file of this path, so that a model may be another without it."""
    own = name.rpartition("/")[2].lower()
    return own.endswith(_LOADED) or own.startswith(_LOADED_FROM) or is_needed(name)


def folders_of(modules: Any) -> tuple[str, ...]:
    """Folders whose files go along, given what modules.json holds (None: there is none)."""
    named = (
        [entry.get("path") for entry in modules if isinstance(entry, dict)]
        if isinstance(modules, list)
        else []
    )
    found = [path.rstrip("/") for path in named if isinstance(path, str)]
    return (*_FOLDERS, *(path for path in found if is_relative_name(path) and "/" not in path))


def fetched_for_planning(sizes: Mapping[str, int], read: Collection[str]) -> list[str]:
    """Which files of a model elsewhere are brought for planning: what goes along, `read` and code.

    Args:
        sizes: path in the model -> bytes, of every file.  read: names that planning reads itself.
    """
    folders = set(_FOLDERS)
    if MODULES_NAME in sizes:
        folders |= {name.partition("/")[0] for name in sizes if _NUMBERED.fullmatch(name.partition("/")[0])}

    def wanted(name: str) -> bool:
        if name in read or (name.endswith(_CODE) and "/" not in name):
            return True
        chosen = goes_along(name, folders) or is_module_weights(name, folders)
        return chosen and (sizes[name] <= SMALL_BYTES or is_needed(name))

    return [name for name in sizes if wanted(name)]
