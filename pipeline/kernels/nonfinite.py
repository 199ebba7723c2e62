"""Count the elements of stored bytes that are NaN or infinite: those whose exponent bits are all ones.

It looks at bytes as integers, after the cast, so that every kernel and device shares it; and integers add, so
that neither the cut of the work nor its order shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Storage type -> (signed integers of its size, unsigned ones, the bit pattern of +Inf).
_LAYOUTS: dict[str, tuple[type[Any], type[Any], int]] = {
    "float16": (np.int16, np.uint16, 0x7C00),
    "bfloat16": (np.int16, np.uint16, 0x7F80),
    "float32": (np.int32, np.uint32, 0x7F80_0000),
    "float64": (np.int64, np.uint64, 0x7FF0_0000_0000_0000),
}


def count_nonfinite(raw: NDArray[np.uint8], dtype: str) -> int:
    """Count the elements of `raw` that are NaN or infinite.

    Args:
        raw: stored bytes of whole elements, contiguous.
        dtype: torch's name of their type, which must be a float.
    """
    if raw.size == 0:
        return 0
    signed, unsigned, infinity = _LAYOUTS[dtype]
    # Two maxima make no temporary array and cost a hundredth of a merge. As a signed integer no negative
    # element reaches +Inf; as an unsigned one only a negative element that is not finite reaches -Inf.
    negative = infinity | 1 << (8 * np.dtype(unsigned).itemsize - 1)
    if np.maximum.reduce(raw.view(signed)) < infinity and np.maximum.reduce(raw.view(unsigned)) < negative:
        return 0
    return int(np.count_nonzero(nonfinite_mask(raw, dtype)))


def nonfinite_mask(raw: NDArray[np.uint8], dtype: str) -> NDArray[np.bool_]:
    """Say of each element of `raw` whether it is NaN or infinite; see `count_nonfinite`."""
    _, unsigned, infinity = _LAYOUTS[dtype]
    found: NDArray[np.bool_] = (raw.view(unsigned) & unsigned(infinity)) == unsigned(infinity)
    return found
