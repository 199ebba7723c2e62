"""What averaging promises beyond the laws: one rounding, whatever the type."""

from __future__ import annotations

import pytest
import torch

from pipeline.methods import load_method
from tests.helpers.cases import tensors
from tests.helpers.driver import merge_one, resolve


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sixteen_bits_are_rounded_once(dtype: torch.dtype) -> None:
    """In 16 bits the average is the exact one rounded once: almost always the nearest number of the type."""
    method = load_method("linear")
    (given,) = tensors("random", dtype, experts=7, sizes=(2000,))
    weight = (0.3, 0.1, 0.7, 0.45, 0.2, 0.9, 0.15)
    merged_N = merge_one(method, None, given.experts_EN, resolve(method, 7, weight=weight))
    weights_E1 = torch.tensor(weight, dtype=torch.float64)[:, None]
    exact_N = (given.experts_EN.double() * weights_E1).sum(0) / weights_E1.sum()
    assert int((merged_N != exact_N.to(dtype)).sum()) <= 20  # of 2000; sums in 16 bits miss hundreds
