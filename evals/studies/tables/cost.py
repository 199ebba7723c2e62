"""What a study took: raw rows of finished work added up by kind and size. Measures nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from evals.studies.tables.values import Cost
from pipeline.errors import InputError

_FIELDS = ("kind", "size", "seconds", "read_bytes", "peak_bytes")


def costs(rows: Iterable[Mapping[str, Any]]) -> tuple[Cost, ...]:
    """One `Cost` a kind and size, in their order: units, seconds, bytes read summed; of peaks the largest.

    rows: {"kind", "size", "seconds", "read_bytes", "peak_bytes"}, one a finished unit. InputError: a row
    without one of them.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        lacking = [field for field in _FIELDS if field not in row]
        if lacking:
            raise InputError(
                "not a row of costs", expected=", ".join(_FIELDS), found=f"no {', '.join(lacking)}"
            )
        groups.setdefault((row["kind"], row["size"]), []).append(row)
    return tuple(_cost(kind, size, group) for (kind, size), group in sorted(groups.items()))


def _cost(kind: str, size: str, rows: list[Mapping[str, Any]]) -> Cost:
    # Exact, as rows come in the order in which workers finished.
    seconds = math.fsum(float(row["seconds"]) for row in rows)
    read_bytes = sum(int(row["read_bytes"]) for row in rows)
    return Cost(kind, size, len(rows), seconds, read_bytes, max(int(row["peak_bytes"]) for row in rows))
