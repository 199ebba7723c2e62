"""DARE, then Task Arithmetic, in plain fp64. Slow on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.helpers.references import Array, Tensors, unflatten
from tests.helpers.references.dare import sparsified


def merge(tensors: Tensors, knobs: Mapping[str, Any], models: Sequence[str]) -> dict[str, Array]:
    """theta = theta_0 + lambda * sum_i w_i DARE(tau_i), over sum_i w_i if normalised."""
    merged: dict[str, Array] = {}
    total = float(sum(knobs["weight"]))
    divisor = total if knobs["normalize"] and abs(total) >= 1e-8 else 1.0
    for scope, base, sparse in sparsified(tensors, knobs, models):
        tau = sum(weight * kept for weight, kept in zip(knobs["weight"], sparse, strict=True))
        merged |= unflatten(scope, base + knobs["lambda"] * (tau / divisor))
    return merged
