"""Every method equals a slow fp64 reference that was written from its paper and shares nothing with it."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch

from tests.helpers.cases import Setting, each_with, rounding, tensors
from tests.helpers.driver import Given, merge

# Kinds whose deltas are exact in the dtype: then every decision (kept or not, which sign) is the same in
# fp64.
KINDS = (
    ("grid", torch.float32),
    ("grid", torch.float64),
    ("grid", torch.bfloat16),
    ("grid", torch.float16),
    ("fine", torch.float32),
    ("random", torch.float64),
)


def fp64(given: list[Given]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The same tensors as the reference takes them."""
    return {
        tensor.name: (tensor.base_N.double().numpy(), tensor.experts_EN.double().numpy())
        for tensor in given
        if tensor.base_N is not None
    }


@pytest.mark.parametrize(("setting", "inputs"), each_with(KINDS))
def test_equals_reference(setting: Setting, inputs: tuple[str, torch.dtype]) -> None:
    """The merged weights are the reference's, within the rounding of the compute dtype."""
    kind, dtype = inputs
    reference = import_module(f"tests.helpers.references.{setting.method}")
    given = tensors(kind, dtype, experts=4, sizes=(97, 40), seed=2)
    knobs, models = setting.knobs(4), [f"expert-{e}" for e in range(4)]
    merged = merge(setting.load(), given, knobs, models=models, cuts={"w0": [31]})
    expected = reference.merge(fp64(given), knobs, models)
    for name, expected_N in expected.items():
        # Largest number on the way: weights up to 2 and rescaling by up to 10 of deltas up to 1.
        error = np.abs(merged[name].double().numpy() - expected_N).max()
        assert error <= rounding(dtype, 4, scale=max(4.0, float(np.abs(expected_N).max()))), name
