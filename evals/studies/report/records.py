"""The study's scores as Parquet, a row a score, and which of them stand behind each cell, as JSON.

The Parquet file stands alone: what the study's tables need beside scores lies in its metadata, as JSON, so
that a stranger who has no checkpoint computes every table anew from it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, get_args

from evals.studies.report.view import Behind
from evals.studies.tables.values import Kind, Question, Role, Score, Subject
from pipeline.errors import InputError

RECORDS, CELLS = "records.parquet", "cells.json"
#: The key of the file's metadata under which the rest of a study lies.
_STUDY = b"mergescale.study"
_COMPRESSION, _LEVEL = "zstd", 9
#: Columns that earlier files lack, and what their rows mean.
_LATER = {"run": 0}
_NULLABLE = ("chance", "value", "stderr")
#: A file that grows beyond this when it is unpacked is none of ours.
_MOST_BYTES = 4 << 30


def records_parquet(scores: Sequence[Score], study: str = "") -> bytes:
    """One row a score: the fields of subject, question and score; `items` and `experts` are lists.

    study: what else the tables need, as JSON text; "" where they are not to be computed from this file alone.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [_row(score) for score in scores]
    schema = _columns().with_metadata({_STUDY: study.encode()} if study else None)
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, sink, compression=_COMPRESSION, compression_level=_LEVEL)
    return bytes(sink.getvalue().to_pybytes())


def read_records(raw: bytes, where: str) -> tuple[tuple[Score, ...], str]:
    """The scores and the JSON text that `records_parquet` wrote.

    InputError: the bytes are no such file, or a row says what no score can be.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(raw))
        size_bytes = sum(file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups))
        if size_bytes > _MOST_BYTES:
            raise _no_records(where, f"{size_bytes:,} bytes of rows")
        table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise _no_records(where, " ".join(str(error).split())) from error
    for name, value in _LATER.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.array([value] * table.num_rows, pa.int64()))
    columns = _columns()
    found, expected = _types(table.schema), _types(columns)
    if found != expected:
        odd = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise _no_records(where, f"columns that are missing, unknown or of another type: {', '.join(odd)}")
    empty = [name for name in columns.names if name not in _NULLABLE and table[name].null_count]
    if empty:
        raise _no_records(where, f"rows without {', '.join(empty)}")
    study = (table.schema.metadata or {}).get(_STUDY, b"")
    return tuple(_score(row, where) for row in table.to_pylist()), study.decode("utf-8", "replace")


def _types(schema: Any) -> dict[str, str]:
    """Column -> its type. Parquet calls the items of a list `element`, Arrow `item`."""
    return {field.name: str(field.type).replace("<element:", "<item:") for field in schema}


def _no_records(where: str, found: str) -> InputError:
    return InputError(
        "no records of a study",
        where=where,
        expected="a records.parquet that `mergescale study report` or `publish` wrote",
        found=found,
        hint="get the file again, or write it anew: mergescale study report CONFIG",
    )


def _score(row: dict[str, Any], where: str) -> Score:
    """The score of one row."""
    for name, known in (("kind", get_args(Kind)), ("role", get_args(Role))):
        if row[name] not in known:
            raise _no_records(where, f'{name} "{row[name]}"')
    row |= {"experts": tuple(row["experts"]), "items": tuple(row["items"])}
    subject = Subject(**{field.name: row[field.name] for field in fields(Subject)})
    question = Question(**{field.name: row[field.name] for field in fields(Question)})
    own = {field.name: row[field.name] for field in fields(Score) if field.name in row}
    return Score(subject=subject, question=question, **own)


def cells_json(cells: Sequence[Behind]) -> bytes:
    """Which records each cell was computed from: one object a cell, one line each."""
    lines = [
        json.dumps(
            {
                "cell": one.anchor,
                "role": one.cell.role,
                **{
                    key: value
                    for key, value in asdict(one.cell.subject).items()
                    if key not in ("seed", "run")
                },
                "holes": one.cell.holes,
                "records": one.cell.records,
            },
            ensure_ascii=False,
        )
        for one in cells
    ]
    return ("[\n" + ",\n".join(lines) + "\n]\n").encode()


def _row(score: Score) -> dict[str, Any]:
    """Plain values of one score."""
    own = {name: value for name, value in vars(score).items() if name not in ("subject", "question")}
    return {**own, **vars(score.subject), **vars(score.question)}


def _columns() -> Any:
    """The Arrow schema of the rows."""
    import pyarrow as pa

    text, whole, real = pa.string(), pa.int64(), pa.float64()
    kinds = {
        "id": text, "base": text, "size": text, "quality": text, "parameters": whole, "kind": text,
        "method": text, "count": whole, "seed": whole, "run": whole, "experts": pa.list_(text),
        "role": text, "suite": text, "category": text, "task": text, "metric": text,
        "higher_is_better": pa.bool_(), "chance": real,
        "value": real, "stderr": real, "n": whole, "items": pa.list_(real), "why": text,
    }  # fmt: skip
    return pa.schema(list(kinds.items()))
