"""DARE, then TIES' election and mean, in plain fp64. Slow on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.helpers.references import Array, Tensors, unflatten
from tests.helpers.references.dare import sparsified
from tests.helpers.references.ties import elected_mean


def merge(tensors: Tensors, knobs: Mapping[str, Any], models: Sequence[str]) -> dict[str, Array]:
    """theta = theta_0 + lambda * elected mean of DARE(tau_i)."""
    merged: dict[str, Array] = {}
    for scope, base, sparse in sparsified(tensors, knobs, models):
        merged |= unflatten(scope, base + knobs["lambda"] * elected_mean(sparse, knobs))
    return merged
