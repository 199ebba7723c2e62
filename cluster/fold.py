"""Folding partial measures: dictionaries of int64 arrays, added element by element.

Integers only, so the sum is the same in any order and any grouping: a loop, a tree or a resumed run give the
same bits. It knows nothing of what the numbers count. `pack` makes small bytes of mostly-zero histograms.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Partial = dict[str, NDArray[np.int64]]
PartialLike = Mapping[str, NDArray[np.int64]]

MAGIC = b"MSP1"
_INT64 = np.iinfo(np.int64)
_PREFIX = struct.Struct("<4sI")
_ZLIB_LEVEL = 1  # higher levels take longer and save a few per cent on histograms
_SPARSE_BELOW = 0.5  # share of non-zero elements from which positions cost more than they save


def fold(*parts: PartialLike) -> Partial:
    """The sum of one or more partials, as new arrays.

    Raises ValueError when keys or shapes differ or an array is not int64, OverflowError when a sum leaves
    int64.
    """
    if not parts:
        raise ValueError("nothing to fold: a sum needs at least one partial")
    first, *others = parts
    total = {key: _checked(key, array).copy() for key, array in first.items()}
    for part in others:
        fold_into(total, part)
    return total


def fold_into(total: Partial, part: PartialLike) -> None:
    """Add a partial to a sum in place. Raises what `fold` raises; the sum is of no use then."""
    if part.keys() != total.keys():
        raise ValueError(f"partials differ in their keys: {sorted(total)} and {sorted(part)}")
    for key, array in part.items():
        _add(key, total[key], _checked(key, array))


def exclusive_scan(parts: Sequence[PartialLike]) -> list[Partial]:
    """For each partial, in the given (canonical) order, the sum of those before it; zeros for the first.

    Raises what `fold` raises.
    """
    sums: list[Partial] = []
    for part in parts:
        before = (
            sums[-1] if sums else {key: np.zeros_like(_checked(key, array)) for key, array in part.items()}
        )
        sums.append(fold(before, parts[len(sums) - 1]) if sums else before)
    if parts:
        fold(sums[-1], parts[-1])  # the last one is checked like the others, although nobody follows it
    return sums


def pack(partial: PartialLike) -> bytes:
    """A partial as bytes: exact, the same bytes for the same numbers, small when most elements are zero."""
    table, chunks = [], []
    for key in sorted(partial):
        array = _checked(key, partial[key])
        flat = array.ravel()
        places = np.flatnonzero(flat)
        sparse = places.size < _SPARSE_BELOW * flat.size
        columns = [np.diff(places, prepend=0), flat[places]] if sparse else [flat]
        narrow = [_narrowest(column) for column in columns]
        table.append([key, list(array.shape), sparse, int(places.size), [str(one.dtype) for one in narrow]])
        chunks += [_by_byte(one) for one in narrow]
    header = json.dumps(table, separators=(",", ":")).encode()
    body = zlib.compress(header + b"".join(chunks), _ZLIB_LEVEL)
    return _PREFIX.pack(MAGIC, len(header)) + body


def unpack(data: bytes) -> Partial:
    """The partial that `pack` packed. Raises ValueError when the bytes are something else or damaged."""
    try:
        magic, header_size = _PREFIX.unpack_from(data)
        if magic != MAGIC:
            raise ValueError("not a packed partial")
        raw = zlib.decompress(data[_PREFIX.size :])
        return _unpacked(json.loads(raw[:header_size]), memoryview(raw)[header_size:])
    except (struct.error, zlib.error, TypeError, IndexError) as error:
        raise ValueError(f"damaged partial: {error}") from error


def _unpacked(table: list[tuple[str, list[int], bool, int, list[str]]], rest: memoryview) -> Partial:
    partial: Partial = {}
    for key, shape, sparse, nonzero, dtypes in table:
        size = math.prod(shape)
        columns = []
        for dtype in map(np.dtype, dtypes):
            count = (nonzero if sparse else size) * dtype.itemsize
            columns.append(_from_bytes(rest[:count], dtype))
            rest = rest[count:]
        flat = np.zeros(size, np.int64)
        if sparse:
            flat[np.cumsum(columns[0], dtype=np.int64)] = columns[1]
        else:
            flat[:] = columns[0]
        partial[key] = flat.reshape(shape)
    if len(rest):
        raise ValueError(f"damaged partial: {len(rest)} bytes too many")
    return partial


def _checked(key: str, array: NDArray[np.int64]) -> NDArray[np.int64]:
    if array.dtype != np.int64:
        raise ValueError(f'partial "{key}" is {array.dtype}, not int64: only integers add up in any order')
    return array


def _add(key: str, total: NDArray[np.int64], array: NDArray[np.int64]) -> None:
    if total.shape != array.shape:
        raise ValueError(f'partials differ in the shape of "{key}": {total.shape} and {array.shape}')
    if array.size and not _fits(int(total.min()) + int(array.min()), int(total.max()) + int(array.max())):
        exact = total.astype(object) + array.astype(object)  # rare: only near the ends of int64
        if not _fits(exact.min(), exact.max()):
            raise OverflowError(f'the sum of "{key}" does not fit into 64 bits')
    np.add(total, array, out=total)


def _fits(low: int, high: int) -> bool:
    return bool(_INT64.min <= low and high <= _INT64.max)


def _narrowest(column: NDArray[np.int64]) -> NDArray[np.generic]:
    """The same numbers in the smallest integer type that holds them."""
    low, high = (int(column.min()), int(column.max())) if column.size else (0, 0)
    for kind in ("u1", "u2", "u4", "i8"):
        bounds = np.iinfo(kind)
        if bounds.min <= low and high <= bounds.max:
            return column.astype(f"<{kind}")
    raise AssertionError("int64 holds every int64")


def _by_byte(column: NDArray[np.generic]) -> bytes:
    """Low bytes first, then the next ones: equal high bytes lie together and compress."""
    return np.ascontiguousarray(column).view(np.uint8).reshape(-1, column.dtype.itemsize).T.tobytes()


def _from_bytes(data: memoryview, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).view(dtype).reshape(-1)
