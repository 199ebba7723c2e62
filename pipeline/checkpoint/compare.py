"""Whether two stored tensors hold the same bytes: read side by side in pieces, here or from afar.

Two tensors that differ mostly do so in their first piece, so that only equal ones are read to the end. What
was found is kept for as long as neither file changes; no bytes are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

from pipeline.checkpoint.files import read_into
from pipeline.checkpoint.index import CheckpointIndex, TensorEntry
from pipeline.checkpoint.locate import open_ranged
from pipeline.checkpoint.synthetic import POOL, is_synthetic

_FIRST_BYTES, _PIECE_BYTES = 64 << 10, 8 << 20
_MOST_KEPT = 100_000
#: (first byte, end byte) of a file -> these bytes.
_Read = Callable[[int, int], bytes]
_kept: dict[tuple[object, ...], bool] = {}


def same_bytes(
    index: CheckpointIndex, entry: TensorEntry, other_index: CheckpointIndex, other: TensorEntry
) -> bool:
    """Whether two tensors have the same type, shape and bytes.

    Args:
        index, entry: one tensor and the model it is in.  other_index, other: the other one.

    Raises:
        OSError, RunError: a file cannot be read, or ends before the tensor does.
        CheckpointError: the weights are elsewhere and cannot be reached.
    """
    if (entry.spec.dtype, entry.spec.shape) != (other.spec.dtype, other.spec.shape):
        return False
    key = (*_identity(index, entry), *_identity(other_index, other), entry.spec.size_bytes)
    if key not in _kept:
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        _kept[key] = _compare(index, entry, other_index, other)
    return _kept[key]


def lies_here(index: CheckpointIndex) -> bool:
    """Whether a model's weights are on this machine."""
    return all(file.mtime_ns for file in index.files)


def _identity(index: CheckpointIndex, entry: TensorEntry) -> tuple[object, ...]:
    """What tells the bytes of a tensor from those that the file held before it changed."""
    file = next(file for file in index.files if file.path == entry.file)
    return (index.commit, file.path, file.size_bytes, file.header_digest, file.mtime_ns, entry.start_byte)


def _compare(
    index: CheckpointIndex, entry: TensorEntry, other_index: CheckpointIndex, other: TensorEntry
) -> bool:
    if is_synthetic(entry.file) or is_synthetic(other.file):
        # Bytes that are made when they are read are told by their place in the pool they come from.
        place, other_place = (each.start_byte // 2 % POOL for each in (entry, other))
        return (entry.file, place) == (other.file, other_place)
    size, at, step = entry.spec.size_bytes, 0, _FIRST_BYTES
    with ExitStack() as opened:
        read, read_other = _open(index, entry, opened), _open(other_index, other, opened)
        while at < size:
            stop = min(at + step, size)
            if read(at, stop) != read_other(at, stop):
                return False
            at, step = stop, _PIECE_BYTES
    return True


def _open(index: CheckpointIndex, entry: TensorEntry, opened: ExitStack) -> _Read:
    """How the bytes of one tensor are read; what must be closed afterwards goes to `opened`."""
    if index.commit is not None and not os.path.exists(entry.file):
        ranged, name = open_ranged(index), os.path.basename(entry.file)

        def read_there(start: int, stop: int) -> bytes:
            return bytes(ranged(name, entry.start_byte + start, entry.start_byte + stop)[0])

        return read_there
    fd = os.open(entry.file, os.O_RDONLY | os.O_CLOEXEC)
    opened.callback(os.close, fd)

    def read_here(start: int, stop: int) -> bytes:
        piece = bytearray(stop - start)
        read_into(fd, memoryview(piece), entry.start_byte + start)
        return bytes(piece)

    return read_here
