"""Several merges, one read: what they need of a tensor is read once and handed to each as its own load.

It knows no method and never looks at a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pipeline.plan.cost import stream_bytes
from pipeline.plan.plan import read_together
from pipeline.work.lanes import Lane
from pipeline.work.orders import PieceOrder
from pipeline.work.reading import Arena, Load, load_all, requests


def shared_loads(
    wanted: Iterable[tuple[int, PieceOrder]],
    lane: Lane,
    arena: Arena,
    limit_bytes: int,
    *,
    sample: bool = False,
    forgets: bool = False,
) -> Iterator[tuple[int, Load]]:
    """(number of the merge, load of its own piece), every input byte read once for all that need it.

    `wanted`: (number of the merge, its order); pieces are read in the order in which they are first named.
    Merges are cut alike: pieces by the same name, of tensors of the same size, hold the same elements. A
    piece is held whole if any of them must hold it. A load is valid until the next one is asked for. At most
    `limit_bytes` are held, or what streaming needs if that is more. Raises OSError naming the file that
    cannot be read.
    """
    takers: dict[tuple[str, int], list[tuple[int, PieceOrder]]] = {}
    for number, order in wanted:
        takers.setdefault(_identity(order), []).append((number, order))
    wholes = [_whole([order for _, order in found]) for found in takers.values()]
    widest = max((whole.tensor.read_bytes_per_element for whole in wholes), default=0)
    limit_bytes = max(limit_bytes, stream_bytes(widest, lane.device))
    reads = list(requests(wholes, lane.load_elements, sample=sample))
    for load in load_all(reads, arena, limit_bytes, forgets=forgets):
        raw = dict(zip(load.request.order.tensor.inputs, load.raw, strict=True))
        for number, order in takers[_identity(load.request.order)]:
            request = replace(load.request, order=order)
            yield number, Load(request, tuple(raw[source] for source in order.tensor.inputs))


def _identity(order: PieceOrder) -> tuple[str, int]:
    """What is the same for all merges that read a piece together."""
    return order.name, order.tensor.spec.numel


def _whole(orders: Sequence[PieceOrder]) -> PieceOrder:
    """An order that reads all that these need."""
    tensor = read_together([order.tensor for order in orders])
    held = any(order.piece.mode == "resident" for order in orders)
    return PieceOrder(tensor, replace(orders[0].piece, mode="resident" if held else "stream"))
