"""A material's folder: task files as JSONL and their summary, made once under a cache.

A folder is built beside its place and renamed, and named by everything that decides its bytes. No row of any
data set is part of this repository.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from evals.material.fetch import Report, fetch
from evals.material.items import Item, copying, majority
from evals.material.materials import MATERIALS, Material
from evals.material.overlap import Passages
from evals.material.packages import Package
from evals.material.splits import Splits, all_splits, held_texts

SUMMARY = "tasks.json"
_FETCHES_AT_ONCE = 3


def prepare(material: Material, cache: Path, report: Report) -> Path:
    """The material's folder under `cache`, fetched and built unless it is there. RunError: pip, npm."""

    def write(folder: Path) -> None:
        archives = fetch_all(material.packages, cache, report)
        report(f"building the task files of {material.name}")
        write_tasks(material, make_rows(material, archives), folder)

    return built_once(cache / "data" / f"{material.name}-{fingerprint(material.packages)}", write)


def make_rows(material: Material, archives: Mapping[str, Path]) -> dict[str, Splits]:
    """Task name -> split name -> rows, out of package name -> archive."""
    return all_splits(material, {task.name: task.build(archives) for task in material.tasks})


def held_passages(cache: Path, report: Report) -> Passages:
    """All texts that a test or validation row of the miniature study shows. RunError: pip, npm."""
    study = MATERIALS["miniature"]
    folder = prepare(study, cache, report)
    rows = {
        task.name: {name: read_rows(folder / task.name / f"{name}.jsonl") for name in ("test", "validation")}
        for task in study.tasks
    }
    return Passages(held_texts(rows))


def fetch_all(packages: Iterable[Package], cache: Path, report: Report) -> dict[str, Path]:
    """Package name -> archive, a few fetched at a time."""
    wanted = list(packages)
    with ThreadPoolExecutor(_FETCHES_AT_ONCE) as pool:
        files = pool.map(lambda package: fetch(package, cache, report), wanted)
        return {package.name: file for package, file in zip(wanted, files, strict=True)}


def built_once(folder: Path, write: Callable[[Path], None]) -> Path:
    """`folder`, written by `write` beside its place and renamed unless it is there; whole or not at all."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        write(beside)
        try:
            os.rename(beside, folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was first
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def fingerprint(packages: Iterable[Package]) -> str:
    """16 hex digits of what decides the files: the packages and the code of this room that reads them."""
    digest = hashlib.sha256("".join(package.sha256 for package in packages).encode())
    for module in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()[:16]


def write_tasks(material: Material, rows: Mapping[str, Splits], folder: Path) -> None:
    """Write every task's splits and, last, the summary with counts, baselines and licences."""
    summary: dict[str, object] = {"fingerprint": fingerprint(material.packages)}
    for task in material.tasks:
        splits = rows[task.name]
        (folder / task.name).mkdir(parents=True)
        for name, items in splits.items():
            write_rows(folder / task.name / f"{name}.jsonl", items)
        summary[task.name] = {
            "role": task.role,
            "category": task.category,
            "chance": task.chance,
            "majority": round(majority(splits["test"]), 4),
            "copying": round(copying(splits["test"]), 4),
            "rows": {name: len(items) for name, items in splits.items()},
            "sources": [f"{one.name} {one.version} ({one.licence})" for one in task.sources],
        }
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1))


def write_rows(file: Path, items: Iterable[Item]) -> None:
    """One JSON object a line."""
    lines = [json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in items]
    file.write_text("".join(lines), encoding="utf-8")


def read_rows(file: Path) -> list[Item]:
    """The items that `write_rows` wrote."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [Item(row["key"], row["question"], tuple(row["choices"]), row["label"]) for row in rows]
