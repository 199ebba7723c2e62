"""The result of one model on one task, and its file forms: JSON lines and Parquet.

A record says what was measured, on what, how, by which versions, and keeps the score of every item, so that
standard errors and paired tests can be computed later from records alone. It never computes a score.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from pipeline.checkpoint.files import atomic_write
from pipeline.errors import InputError

if TYPE_CHECKING:
    from evals.models import Model
    from evals.task import Task

#: Version of the record's fields and meaning; part of every cache key.
SCHEMA = 1

#: What a field of each type holds, in words.
_NAMES: Mapping[Any, str] = {
    str: "a text",
    int: "a whole number",
    int | None: "a whole number or null",
    float: "a finite number",
    float | None: "a finite number or null",
    bool: "true or false",
    tuple[float, ...]: "a list of finite numbers",
}

#: How the digests of guessers begin: no file has such a digest.
BASELINE = "baseline/"


@dataclass(frozen=True)
class Record:
    """One model on one task.

    model: the directory as given.  label: its name in tables.  base, method: "" when it does not say.
    limit: the first N items, None for all.  metric: "name" or "name,filter".  chance: None if there is none.
    value: the task's score.  stderr: its standard error over items, None where it cannot be had (one item).
    items: the score of each item in document order; () for metrics that have no score per item.
    truncated: how many items were longer than the model takes, and lost their beginning.
    dtype: the type the model was loaded in, "auto": the one its config names.
    elapsed_s: seconds for this task alone, without loading the model.
    """

    model: str
    model_digest: str
    label: str
    base: str
    method: str
    suite: str
    role: str
    category: str
    task: str
    task_version: str
    task_digest: str
    shots: int
    limit: int | None
    metric: str
    higher_is_better: bool
    chance: float | None
    value: float
    stderr: float | None
    n: int
    truncated: int
    elapsed_s: float
    machine: str
    device: str
    dtype: str
    batch_size: str
    mergescale: str
    lm_eval: str
    items: tuple[float, ...]
    schema: int = SCHEMA

    @property
    def is_baseline(self) -> bool:
        """Whether a guesser was scored, not a model."""
        return self.model_digest.startswith(BASELINE)

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, as JSON and Parquet take them."""
        return {**asdict(self), "items": list(self.items)}


def names_of(model: Model, task: Task) -> dict[str, Any]:
    """The fields of a record that say what model and task are called, where they belong and how to read them.

    They are no part of a score's key: a stored score is given those of the request it serves.
    """
    return {
        "model": model.path,
        "label": model.label,
        "base": model.base,
        "method": model.method,
        "suite": task.suite,
        "role": task.role,
        "category": task.category,
        "task": task.name,
        "task_version": task.version,
        "higher_is_better": task.higher_is_better,
        "chance": task.chance,
    }


def from_dict(values: Mapping[str, Any], where: str = "") -> Record:
    """The record that `to_dict` gave. InputError: fields missing or unknown, or another schema version."""
    names = [field.name for field in fields(Record)]
    if values.get("schema") != SCHEMA or set(values) != set(names):
        odd = sorted(set(values) ^ set(names))
        found = f"schema {values.get('schema')}" + (f", fields {', '.join(odd)}" if odd else "")
        raise InputError(
            "not a record of this version", where=where, expected=f"schema {SCHEMA}", found=found
        )
    kinds = get_type_hints(Record)
    return Record(**{name: _typed(name, values[name], kinds[name], where) for name in names})


def _typed(name: str, value: Any, kind: Any, where: str) -> Any:
    """A field's value in its own type. InputError: another type, or a number that is not finite."""
    if kind == tuple[float, ...]:
        if isinstance(value, list | tuple):
            return tuple(_typed(name, item, float, where) for item in value)
    elif value is None and kind in (int | None, float | None):
        return None
    elif kind in (float, float | None):
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif isinstance(value, bool) == (kind is bool):
        wanted = int if kind == int | None else kind
        if isinstance(value, wanted):
            return value
    raise InputError(
        "not a record of this version",
        where=where,
        expected=f"{name}: {_NAMES[kind]}",
        found=repr(value)[:40],
    )


def to_json(record: Record) -> str:
    """One line of JSON; numbers survive the trip to the last bit."""
    return json.dumps(record.to_dict(), ensure_ascii=False, allow_nan=False)


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    """Write records, one a line, atomically."""
    atomic_write(path, "".join(to_json(record) + "\n" for record in records).encode())


def read_jsonl(path: Path) -> list[Record]:
    """Read what `write_jsonl` wrote. InputError names the line that is no record."""
    found = []
    # Not splitlines(): a path may hold other line ends, which JSON writes as they are.
    for number, line in enumerate(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"), start=1):
        where = f"{path}:{number}"
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError("not a line of JSON", where=where, found=str(error)) from error
        found.append(from_dict(values if isinstance(values, dict) else {}, where))
    return found


def write_parquet(path: Path, records: Iterable[Record]) -> None:
    """Write records as one Parquet table with fixed column types, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [record.to_dict() for record in records]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=_columns()), sink)
    atomic_write(path, sink.getvalue().to_pybytes())


def read_parquet(path: Path) -> list[Record]:
    """Read what `write_parquet` wrote. InputError when the table is not one of records."""
    import pyarrow.parquet as pq

    return [from_dict(row, str(path)) for row in pq.read_table(path).to_pylist()]


def _columns() -> Any:
    """The Arrow schema that follows from the record's own types."""
    import pyarrow as pa

    kinds: dict[Any, Any] = {
        str: pa.string(),
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
        int | None: pa.int64(),
        float | None: pa.float64(),
        tuple[float, ...]: pa.list_(pa.float64()),
    }
    return pa.schema([(name, kinds[kind]) for name, kind in get_type_hints(Record).items()])
