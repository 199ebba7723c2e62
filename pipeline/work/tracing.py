"""Find out where the elements of a merged tensor that are not finite come from: its inputs are read again.

Only tensors that have such elements are traced, so that a clean merge pays nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.checkpoint.nonfinite import NonFinite, narrower
from pipeline.kernels.nonfinite import count_nonfinite, nonfinite_mask
from pipeline.plan.plan import MergePlan, Piece, TensorPlan
from pipeline.work.orders import PieceOrder
from pipeline.work.reading import Arena, load_all, requests

#: Elements read from every input at a time.
_LOAD_ELEMENTS = 1 << 18


def trace(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run a unit that traces `payload["tensor"]`, a TensorPlan.

    Returns {"traced": (position of the first input that holds elements that are not finite or None, number of
    positions where any input has one)}. Raises OSError naming the input that cannot be read.
    """
    tensor: TensorPlan = payload["tensor"]
    order = PieceOrder(tensor, Piece(0, 0, tensor.spec.numel, "stream"))
    arena = Arena(lambda size_bytes: np.empty(size_bytes, np.uint8))
    first: int | None = None
    elements = 0
    for load in load_all(list(requests([order], _LOAD_ELEMENTS)), arena, limit_bytes=0):
        anywhere_N = np.zeros(load.request.stop - load.request.start, np.bool_)
        for position, (source, raw) in enumerate(zip(tensor.inputs, load.raw, strict=True)):
            if count_nonfinite(raw, source.dtype.name):
                first = position if first is None else min(first, position)
                anywhere_N |= nonfinite_mask(raw, source.dtype.name)
        elements += int(np.count_nonzero(anywhere_N))
    return {"traced": (first, elements)}


def explained(plan: MergePlan, tensor: TensorPlan, count: int, traced: tuple[int | None, int]) -> NonFinite:
    """Say in names where `count` elements of a merged tensor come from, given what `trace` returned."""
    first, elements = traced
    indexes = plan.experts if tensor.base is None else plan.indexes
    return NonFinite(
        tensor=tensor.spec.name,
        count=count,
        model=None if first is None else str(indexes[first].ref),
        # Whatever is not finite in an input is not finite in the output: the rest overflowed.
        overflowed=count - elements,
        dtype=narrower(tensor.compute.name, tensor.spec.dtype.name),
    )
