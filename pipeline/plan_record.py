"""The plan file of a work directory: what is being built from what, typed on the way in and out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.checkpoint.files import atomic_write
from pipeline.checkpoint.manifest import InputFile
from pipeline.errors import OutputError
from pipeline.plan.plan import MergePlan
from pipeline.untrusted import is_relative_name, parse_json, read_small

PLAN_NAME = "plan.json"
_LIMIT_BYTES = 1 << 30
_T = TypeVar("_T")


@dataclass(frozen=True)
class PlanRecord:
    """What a plan file says: the plan, the files that are read and made, its units and their bytes."""

    fingerprint: str
    method: str
    input_files: tuple[InputFile, ...]
    files: tuple[str, ...]
    unit_ids: tuple[str, ...]
    units: int
    write_bytes: int


def input_records(plan: MergePlan) -> list[InputFile]:
    """Path, size, header digest and time of change of every input file, in the plan's order."""
    return [
        {
            "path": file.path,
            "size_bytes": file.size_bytes,
            "header_digest": file.header_digest,
            "mtime_ns": file.mtime_ns,
        }
        for index in plan.indexes
        for file in index.files
    ]


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


def _input_file(file: Any) -> InputFile:
    table = _of_type(file, dict, "input_files")
    return {
        "path": _of_type(table["path"], str, "path"),
        "size_bytes": _of_type(table["size_bytes"], int, "size_bytes"),
        "header_digest": _of_type(table["header_digest"], str, "header_digest"),
        "mtime_ns": _of_type(table["mtime_ns"], int, "mtime_ns"),
    }


def _of_type(value: Any, kind: type[_T], what: str) -> _T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{what} is no {kind.__name__}")
    return value
