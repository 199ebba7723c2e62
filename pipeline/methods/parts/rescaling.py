"""Scaling survivors so that a delta keeps its L1 norm when entries are dropped (mergekit's `rescale`).

Shape legend: S experts that lose entries ("slots"), N elements of one block. The norms are exact (see
parts.exact_sum); this file never sums floats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.methods.contract import Partial, Round
from pipeline.methods.parts import exact_sum

if TYPE_CHECKING:
    import torch

NORMS = Round("norms")
#: Norms below this are left as they are: there is nothing to match.
TINY = 1e-7


def stack(norms: Sequence[tuple[int, int]]) -> Partial:
    """One block's partial, from `exact_sum.norms` of every slot in order: int64 limbs, shape (S, 2, L)."""
    return {NORMS.name: np.stack([exact_sum.to_limbs(pair) for pair in norms])}


def settle(folded: Partial) -> list[list[float]]:
    """[L1 norm before the mask, L1 norm after it] of every slot, over the whole scope."""
    return [[exact_sum.to_float(limbs_L) for limbs_L in pair] for pair in folded[NORMS.name]]


def factor(norms: Sequence[float], dtype: torch.dtype) -> float:
    """Norm before / norm after, or 1 where either is below 1e-7.

    Both norms and their quotient are rounded to the compute dtype, as mergekit does; fp16, which cannot hold
    the norm of a large tensor, uses fp32 instead.
    """
    import torch

    if min(norms) < TINY:
        return 1.0
    work = torch.float32 if dtype == torch.float16 else dtype
    before, after = (torch.tensor(norm, dtype=torch.float64).to(work) for norm in norms)
    quotient = float(before / after)
    return quotient if math.isfinite(quotient) else norms[0] / norms[1]
