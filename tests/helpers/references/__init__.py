"""Slow fp64 references, one file a method of the catalogue, from the papers, sharing nothing with our code.

Each has `merge(tensors, knobs, models)`: name -> (base or None, experts), all fp64, to name -> merged.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: name -> (base, shape (N,), or None; experts, shape (E, N))
Tensors = Mapping[str, tuple[Array, Array]]


def flatten(tensors: Tensors) -> tuple[Array, Array]:
    """The whole scope as one long base, shape (M,), and experts, shape (E, M), in tensor order."""
    bases, experts = zip(*tensors.values(), strict=True)
    return np.concatenate(bases), np.concatenate(experts, axis=1)


def unflatten(tensors: Tensors, flat: Array) -> dict[str, Array]:
    """The inverse of `flatten` for one merged array."""
    ends = np.cumsum([experts.shape[1] for _, experts in tensors.values()])
    return dict(zip(tensors, np.split(flat, ends[:-1]), strict=True))
