"""Scaling survivors so that a delta keeps its L1 norm when entries are dropped (mergekit's `rescale`).

Shape legend: S experts that lose entries ("slots"). The norms are exact (see `kernels.limbs`); no float is
summed here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipeline.kernels import limbs
from pipeline.kernels.contract import Block, Losses
from pipeline.kernels.rounding import rounded
from pipeline.methods.contract import Partial, Round, add

NORMS = Round("norms")
#: Norms below this are left as they are: there is nothing to match.
TINY = 1e-7


def measure(block: Block, slots: Sequence[int], losses: Sequence[Losses], partial: Partial) -> None:
    """Add the block's norms before and after the losses to `partial`: int64 limbs, shape (S, 2, L)."""
    pairs = block.norms(slots, losses)
    add(partial, NORMS.name, np.stack([limbs.to_limbs(pair) for pair in pairs]))


def settle(folded: Partial) -> list[list[float]]:
    """[L1 norm before the mask, L1 norm after it] of every slot, over the whole scope."""
    return [[limbs.to_float(limbs_L) for limbs_L in pair] for pair in folded[NORMS.name]]


def factor(norms: Sequence[float], compute: str) -> float:
    """Norm before / norm after, or 1 where either is below 1e-7.

    Both norms and their quotient are rounded to the compute type, as mergekit does; fp16, which cannot hold
    the norm of a large tensor, uses fp32 instead.
    """
    if min(norms) < TINY:
        return 1.0
    work = "float32" if compute == "float16" else compute
    before, after = (rounded(norm, work) for norm in norms)
    quotient = rounded(before / after, work) if after else math.inf
    return quotient if math.isfinite(quotient) else norms[0] / norms[1]
