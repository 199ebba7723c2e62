"""Averaging as Model Soups writes it (arXiv 2203.05482, "uniform soup" with weights), in plain slow fp64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.helpers.references import Array, Tensors


def merge(tensors: Tensors, knobs: Mapping[str, Any], models: Sequence[str]) -> dict[str, Array]:
    """theta = sum_i w_i theta_i, over sum_i w_i if normalised."""
    merged = {}
    for name, (_, experts) in tensors.items():
        total = np.zeros_like(experts[0])
        for weight, theta in zip(knobs["weight"], experts, strict=True):
            total += weight * theta
        merged[name] = total / sum(knobs["weight"]) if knobs["normalize"] else total
    return merged
