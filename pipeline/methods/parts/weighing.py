"""Weights and divisors as the compute type holds them. Pure scalars."""

from __future__ import annotations

from pipeline.kernels.contract import Block
from pipeline.kernels.rounding import rounded
from pipeline.methods.contract import Knobs


def weights(knobs: Knobs, block: Block) -> list[float]:
    """Each expert's weight, rounded to the compute type as mergekit does."""
    return [rounded(weight, block.compute) for weight in knobs["weight"]]


def divisor(knobs: Knobs, block: Block) -> float:
    """With `normalize` the sum of the weights, rounded, unless it is below 1e-8; otherwise 1."""
    if not knobs["normalize"]:
        return 1.0
    total = rounded(sum(weights(knobs, block)), block.compute)
    return total if abs(total) >= 1e-8 else 1.0
