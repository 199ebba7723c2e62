"""Cut tensors into pieces and bundle pieces into units of work. Pure; the cut never changes the merged bytes.

A unit should read enough to be worth a task and little enough to be lost: a few hundred MB. Pieces of a cut
tensor begin at output offsets aligned to 1 MiB, so that two workers never share a page of a network file
system.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pipeline.plan.plan import Piece, TensorPlan

MIN_UNIT_BYTES = 256 << 20
MAX_UNIT_BYTES = 2 << 30
_UNITS_WANTED = 2000
_ALIGN_BYTES = 1 << 20


def unit_bytes(total_read_bytes: int) -> int:
    """How much input one unit should read: a 2000th of all, between 256 MiB and 2 GiB."""
    return min(MAX_UNIT_BYTES, max(MIN_UNIT_BYTES, total_read_bytes // _UNITS_WANTED))


def cut_tensor(tensor: TensorPlan, number: int, grain: int, target_bytes: int) -> list[Piece]:
    """Streamed pieces of one tensor: multiples of `grain` elements, about `target_bytes` of input each."""
    numel = tensor.spec.numel
    most = max(grain, target_bytes // max(1, tensor.read_bytes_per_element))
    pieces: list[Piece] = []
    start = 0
    while start < numel or not pieces:
        stop = _aligned_stop(tensor, start, min(start + most, numel), grain, numel)
        pieces.append(Piece(number, start, stop, "stream"))
        start = stop
        if numel == 0:
            break
    return pieces


def _aligned_stop(tensor: TensorPlan, start: int, wanted: int, grain: int, numel: int) -> int:
    """The nearest allowed cut at or below `wanted`: a multiple of the grain and, if one is in reach, of 1 MiB
    in the file.
    """
    if wanted >= numel:
        return numel
    size = tensor.spec.dtype.size_bytes
    offset = tensor.start_byte + wanted * size
    aligned = (offset // _ALIGN_BYTES * _ALIGN_BYTES - tensor.start_byte) // size
    for stop in (aligned // grain * grain, wanted // grain * grain):
        if stop > start:
            return stop
    return min(start + grain, numel)


def bundle(
    pieces: Iterable[Piece], tensors: Sequence[TensorPlan], target_bytes: int
) -> Iterator[tuple[Piece, ...]]:
    """Consecutive pieces together until they read `target_bytes`. A resident piece may exceed that alone."""
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        piece_bytes = piece.numel * tensors[piece.tensor].read_bytes_per_element
        if batch and size + piece_bytes > target_bytes:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(piece)
        size += piece_bytes
    if batch:
        yield tuple(batch)
