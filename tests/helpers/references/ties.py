"""TIES as arXiv 2306.01708 (Algorithm 1) writes it, in plain fp64. Slow on purpose: it sorts and loops.

What the paper leaves open is as our catalogue states it: exactly k entries stay, lowest index first among
equals; zeros never stay; a scope is one tensor, or the whole model flattened in tensor order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.helpers.references import Array, Tensors, flatten, unflatten


def merge(tensors: Tensors, knobs: Mapping[str, Any], models: Sequence[str]) -> dict[str, Array]:
    """Trim, elect, disjoint merge, scope by scope."""
    merged: dict[str, Array] = {}
    for scope in scopes(tensors, knobs):
        base, experts = flatten(scope)
        sparse = []
        for theta, density in zip(experts, knobs["density"], strict=True):
            tau = theta - base
            kept = trim(tau, density)
            sparse.append(match_l1(tau, kept) if knobs["rescale"] and density < 1 else kept)
        merged |= unflatten(scope, base + knobs["lambda"] * elected_mean(sparse, knobs))
    return merged


def scopes(tensors: Tensors, knobs: Mapping[str, Any]) -> list[Tensors]:
    """The groups of tensors that are trimmed together."""
    if knobs["trim_scope"] == "model":
        return [tensors]
    return [{name: tensor} for name, tensor in tensors.items()]


def trim(tau: Array, density: float) -> Array:
    """Only the k largest magnitudes; k = max(1, int(density * n)), 0 for density 0."""
    if density >= 1:
        return tau
    k = max(1, int(density * len(tau))) if density > 0 else 0
    by_rank = sorted(range(len(tau)), key=lambda i: (-abs(tau[i]), i))
    kept = np.zeros_like(tau)
    for i in by_rank[:k]:
        kept[i] = tau[i]
    return kept


def match_l1(before: Array, after: Array) -> Array:
    """`after` scaled to the L1 norm of `before`, unless one of them is below 1e-7."""
    old, new = math.fsum(abs(before)), math.fsum(abs(after))
    return after if old < 1e-7 or new < 1e-7 else after * (old / new)


def elected_mean(sparse: Sequence[Array], knobs: Mapping[str, Any]) -> Array:
    """Entry by entry: the sign of the sum, then sum or mean of the weighted deltas that have it."""
    weighted = [weight * tau for weight, tau in zip(knobs["weight"], sparse, strict=True)]
    sums = [math.fsum(entries) for entries in zip(*weighted, strict=True)]
    balance = sum(1 if total > 0 else -1 for total in sums if total != 0)
    draw = -1 if knobs["zero_sign"] == "majority" and balance < 0 else 1
    merged = np.zeros_like(sparse[0])
    for i, total in enumerate(sums):
        sign = math.copysign(1, total) if total != 0 else draw
        agreeing = [e for e in range(len(sparse)) if weighted[e][i] * sign > 0]
        merged[i] = sum(weighted[e][i] for e in agreeing)
        divisor = sum(knobs["weight"][e] for e in agreeing)
        if knobs["normalize"] and divisor != 0:
            merged[i] /= divisor
    return merged
