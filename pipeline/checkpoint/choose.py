"""Which files of a model are its weights and which go with them. Pure: decides on names alone, so that a
directory and a Hub repository agree.

Never opens a file. What cannot be read yet is refused with the way to convert it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from pipeline.checkpoint.layout import INDEX_NAME, SINGLE_NAME
from pipeline.errors import CheckpointError

CONFIG_NAME = "config.json"
ADAPTER_NAME = "adapter_config.json"
_SUFFIX = ".safetensors"
_SHARD = re.compile(r".*-\d+-of-\d+\.safetensors")
_RESAVE = (
    "load it with transformers' from_pretrained and save it with save_pretrained, which writes safetensors"
)
#: Files that are copied as they are, as shell patterns of their path in the model.
COPIED = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "normalizer.json",
    "tokenizer.model",
    "tokenizer.model.v*",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "*.tiktoken",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
)
#: Formats that are not read yet: a pattern of names, what it is, how to convert it.
_OTHERS: tuple[tuple[str, str, str], ...] = (
    (
        r".*\.gguf",
        "GGUF",
        "load it with transformers' from_pretrained(DIR, gguf_file=FILE) and save_pretrained",
    ),
    (
        r".*\.distcp|\.metadata",
        "a torch distributed checkpoint",
        "convert it with torch.distributed.checkpoint.format_utils",
    ),
    (
        r"zero_to_fp32\.py|.*_optim_states\.pt",
        "a DeepSpeed ZeRO checkpoint",
        "run its zero_to_fp32.py with --safe_serialization",
    ),
    (r".*\.(bin|pt|pth|ckpt)", "PyTorch pickles", _RESAVE),
    (r".*\.(h5|msgpack)", "TensorFlow or Flax weights", _RESAVE),
)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a path in a model matches one of the shell patterns, part by part: `*` never crosses `/`.

    The same for a directory, a Hub and a bucket, so that a name with folders in it cannot pass for a file
    that lies beside the weights.
    """
    parts = name.split("/")
    return any(
        len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
        for wanted in (pattern.split("/") for pattern in patterns)
    )


def choose_weights(names: Sequence[str], where: str) -> str:
    """The index file of a sharded model, or the one weight file of another.

    `names` are the files of the model's directory, `where` is what to call it in an error. Raises
    CheckpointError for an adapter, another format, no weights, or several files without an index.
    """
    visible = sorted(name for name in names if not name.startswith("."))
    if INDEX_NAME in visible:
        return INDEX_NAME
    if ADAPTER_NAME in visible and SINGLE_NAME not in visible:
        raise CheckpointError(
            "a LoRA adapter is not a model, and adapters are not read yet",
            where=where,
            expected="a full checkpoint",
            found=ADAPTER_NAME,
            hint="merge the adapter into its base with peft's merge_and_unload and save_pretrained",
        )
    weights = [name for name in visible if name.endswith(_SUFFIX)]
    if SINGLE_NAME in weights:
        return SINGLE_NAME
    if len(weights) == 1 and not _SHARD.fullmatch(weights[0]):
        return weights[0]
    if weights:
        raise _no_index(weights, where)
    raise _no_weights(sorted(names), where)


def _no_index(weights: Sequence[str], where: str) -> CheckpointError:
    sharded = any(_SHARD.fullmatch(name) for name in weights)
    return CheckpointError(
        "weights in several files need an index"
        if sharded
        else "it is not clear which file holds the weights",
        where=where,
        expected=INDEX_NAME if sharded else f"{SINGLE_NAME} or one *{_SUFFIX} file",
        found=_list(weights),
        hint="copy the index file too" if sharded else "keep one of them in the directory",
    )


def _no_weights(names: Sequence[str], where: str) -> CheckpointError:
    wanted = f"{SINGLE_NAME}, {INDEX_NAME} or one *{_SUFFIX} file"
    for pattern, title, hint in _OTHERS:
        found = [name for name in names if re.fullmatch(pattern, name)]
        if found:
            what = f"the weights are {title}, which is not read yet"
            return CheckpointError(what, where=where, expected=wanted, found=_list(found), hint=hint)
    return CheckpointError(
        "no weights here" if names else "the directory is empty",
        where=where,
        expected=wanted,
        found=_list(names),
        hint="give the directory that holds config.json and the weights",
    )


def _list(names: Sequence[str], most: int = 5) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
