"""The plan file of a work directory: what is being built from what, typed on the way in and out."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.checkpoint.files import atomic_write
from pipeline.checkpoint.manifest import InputFile
from pipeline.checkpoint.synthetic import is_synthetic
from pipeline.errors import OutputError, RunError
from pipeline.plan.plan import MergePlan
from pipeline.untrusted import is_relative_name, parse_json, read_small

PLAN_NAME = "plan.json"
_LIMIT_BYTES = 1 << 30
_T = TypeVar("_T")


class PlannedFile(InputFile):
    """An input file, and which file it was: see `FileEntry`; 0 where that was not noted."""

    inode: int
    ctime_ns: int


@dataclass(frozen=True)
class PlanRecord:
    """What a plan file says: the plan, the files that are read and made, its units and their bytes."""

    fingerprint: str
    method: str
    input_files: tuple[PlannedFile, ...]
    files: tuple[str, ...]
    unit_ids: tuple[str, ...]
    units: int
    write_bytes: int


def input_records(plan: MergePlan) -> list[PlannedFile]:
    """Path, size, header digest, times of change and inode of every input file, in the plan's order."""
    return [
        {
            "path": file.path,
            "size_bytes": file.size_bytes,
            "header_digest": file.header_digest,
            "mtime_ns": file.mtime_ns,
            "inode": file.inode,
            "ctime_ns": file.ctime_ns,
        }
        for index in plan.indexes
        for file in index.files
    ]


class InputChanged(RunError):
    """An input is not what it was when the merge was planned, so what was merged may be a mix."""


def is_same_file(old: PlannedFile, new: PlannedFile) -> bool:
    """Whether a file is the one that was noted earlier: its path and size, and as `_difference` judges."""
    if new["mtime_ns"] == 0:  # a Hub file not downloaded yet: its commit is in the fingerprint
        return (old["path"], old["size_bytes"]) == (new["path"], new["size_bytes"])
    return old["path"] == new["path"] and not _difference(old, new)


def check_inputs_unchanged(plan: MergePlan) -> None:
    """Check that every weight file is still the one whose header was planned with, after all was read.

    Raises InputChanged naming a file that was rewritten or replaced: half of what was merged may be of the
    one, half of the other. Raises RunError where a file cannot be looked at: what was merged may be right.
    """
    for noted in input_records(plan):
        path = noted["path"]
        changed = "" if is_synthetic(path) or not noted["inode"] else _change(noted)
        if changed:
            raise InputChanged(
                "an input was changed while the merge ran, so the result is not published",
                where=path,
                expected="the file that the merge was planned with",
                found=changed,
                hint="leave the inputs alone while a merge runs; --fresh merges what is there now",
            )


def _change(noted: PlannedFile) -> str:
    """How the file differs now from what its header was read of; empty where it does not."""
    try:
        now = os.stat(noted["path"])
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        raise RunError(
            "an input cannot be looked at again, so the result is not published",
            where=noted["path"],
            found=error.strerror or str(error),
            hint="mend the storage and run the same command again: finished work is kept",
        ) from error
    times: PlannedFile = {
        **noted,
        "size_bytes": now.st_size,
        "mtime_ns": now.st_mtime_ns,
        "inode": now.st_ino,
        "ctime_ns": now.st_ctime_ns,
    }
    return _difference(noted, times)


def _difference(old: PlannedFile, new: PlannedFile) -> str:
    """How a file differs from what was noted of it earlier, by size, times and which file it is.

    Some mounts give a file another inode whenever they look at it anew: a file that was put in its place
    has another time of its last change of any kind, too, which nobody can set.
    """
    if new["size_bytes"] != old["size_bytes"]:
        return f"{new['size_bytes']:,} bytes instead of {old['size_bytes']:,}"
    if new["mtime_ns"] != old["mtime_ns"]:
        return "another time of change"
    known = old["inode"] and new["inode"]
    if known and new["inode"] != old["inode"] and new["ctime_ns"] != old["ctime_ns"]:
        return "another file of the same size and time"
    return ""


def write_plan_record(root: Path, plan: MergePlan) -> None:
    """Put the plan file into a work directory, durably and whole."""
    described = {
        **plan.summary(),
        "input_files": input_records(plan),
        "unit_ids": [unit.id for unit in plan.units],
    }
    atomic_write(root / PLAN_NAME, json.dumps(described, indent=1).encode())


def read_plan_record(root: Path) -> PlanRecord | None:
    """Read the plan file of a work directory; None without one. Raises OutputError when it is damaged."""
    path = root / PLAN_NAME
    try:
        raw = read_small(path, limit_bytes=_LIMIT_BYTES, error=OutputError, follow_links=False)
        return _parse(parse_json(raw))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise OutputError(
            "the plan of an interrupted merge is damaged",
            where=str(path),
            found=str(error),
            hint="give another output directory, or --fresh to start over",
        ) from error


def _parse(content: Any) -> PlanRecord:
    """Raises KeyError, TypeError or ValueError for what no plan file holds."""
    table = _of_type(content, dict, "the file")
    made = _of_type(table.get("files", []), list, "files")
    files = tuple(_of_type(file, dict, "files")["name"] for file in made)
    if not all(is_relative_name(name) for name in files):
        raise ValueError("files holds what is no file name")
    return PlanRecord(
        fingerprint=_of_type(table["fingerprint"], str, "fingerprint"),
        method=_of_type(table["method"], str, "method"),
        input_files=tuple(_input_file(file) for file in _of_type(table["input_files"], list, "input_files")),
        files=files,
        unit_ids=tuple(_of_type(unit, str, "unit_ids") for unit in table.get("unit_ids", [])),
        units=_of_type(table["units"], int, "units"),
        write_bytes=_of_type(table["write_bytes"], int, "write_bytes"),
    )


def _input_file(file: Any) -> PlannedFile:
    table = _of_type(file, dict, "input_files")
    return {
        "path": _of_type(table["path"], str, "path"),
        "size_bytes": _of_type(table["size_bytes"], int, "size_bytes"),
        "header_digest": _of_type(table["header_digest"], str, "header_digest"),
        "mtime_ns": _of_type(table["mtime_ns"], int, "mtime_ns"),
        "inode": _of_type(table.get("inode", 0), int, "inode"),
        "ctime_ns": _of_type(table.get("ctime_ns", 0), int, "ctime_ns"),
    }


def _of_type(value: Any, kind: type[_T], what: str) -> _T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{what} is no {kind.__name__}")
    return value
