"""The study's scores as Parquet, a row a score, and which of them stand behind each cell, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from evals.studies.report.view import Behind
from evals.studies.tables.values import Score


def records_parquet(scores: Sequence[Score]) -> bytes:
    """One row a score: the fields of subject, question and score; `items` and `experts` are lists."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [_row(score) for score in scores]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=_columns()), sink)
    return bytes(sink.getvalue().to_pybytes())


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
