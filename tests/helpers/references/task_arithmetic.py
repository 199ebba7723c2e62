"""Task Arithmetic as arXiv 2212.04089 writes it, in plain fp64. Slow on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.helpers.references import Array, Tensors


def merge(tensors: Tensors, knobs: Mapping[str, Any], models: Sequence[str]) -> dict[str, Array]:
    """theta = theta_0 + lambda * sum_i w_i tau_i with tau_i = theta_i - theta_0."""
    merged = {}
    for name, (base, experts) in tensors.items():
        tau = sum(weight * (theta - base) for weight, theta in zip(knobs["weight"], experts, strict=True))
        merged[name] = base + knobs["lambda"] * (tau / _divisor(knobs))
    return merged


def _divisor(knobs: Mapping[str, Any]) -> float:
    total = float(sum(knobs["weight"]))
    return total if knobs["normalize"] and abs(total) >= 1e-8 else 1.0
