"""What transformers reads from a model directory, by one set of rules for training and for evaluation.

It loads; it never trains, scores or writes.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError

#: Files of which each is enough for a tokenizer.
_VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model*",
    "tekken.json",
    "*vocab*",
    "*spiece*",
    "*sentencepiece*",
)


def load_tokenizer(folder: Path, where: str) -> Any:
    """Load the tokenizer beside the weights.

    Args:
        folder: the directory with the tokenizer's files.
        where: the model as its user knows it, for errors.

    Raises:
        CheckpointError: transformers can read none there.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise CheckpointError(
            "the model has no tokenizer that can be read",
            where=where,
            expected="tokenizer.json or another tokenizer file beside the weights",
            found=in_words(error) if _has_vocabulary(folder) else "no file that holds a tokenizer",
            hint="copy the tokenizer files of its base model into the directory",
        ) from error


def _has_vocabulary(folder: Path) -> bool:
    """Whether a file in the folder may hold a vocabulary."""
    return any(fnmatchcase(file.name, kind) for file in folder.iterdir() for kind in _VOCABULARIES)


def in_words(error: Exception) -> str:
    """Say what a library's error says: its first line, or all of them where the first announces the rest."""
    lines = [line.strip() for line in str(error).strip().splitlines()] or [""]
    text = " ".join(lines) if lines[0].endswith(":") else lines[0]
    bare = isinstance(error, LookupError | AttributeError | TypeError)  # of these the text alone says little
    return f"{type(error).__name__}: {text}" if bare and text else text or type(error).__name__
