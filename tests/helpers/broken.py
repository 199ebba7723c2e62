"""Models with elements that are NaN, infinite or huge, and what torch counts in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tests.helpers.models import read_tensors, write_tensors


def spoil(model: Path, tensor: str, values: Mapping[int, float]) -> None:
    """Set elements of one tensor, by their flat index, in a model of one file."""
    held = read_tensors(model)
    for index, value in values.items():
        held[tensor].view(-1)[index] = value
    write_tensors(model, held)


def count(tensor: Tensor) -> int:
    """Elements that are NaN or infinite, as torch counts them."""
    return int((~tensor.isfinite()).sum())


def expected(
    merged: Mapping[str, Tensor], inputs: Sequence[tuple[Path, Mapping[str, Tensor]]]
) -> dict[str, tuple[int, str | None, int]]:
    """Tensor -> (elements that are not finite, first input that has such, how many no input has), by torch.

    inputs: (place of the model, its tensors), base first where the method reads it.
    """
    found = {}
    for name, tensor in merged.items():
        if tensor.is_floating_point() and count(tensor):
            broken = [(str(place), ~held[name].isfinite()) for place, held in inputs]
            first = next((place for place, mask in broken if bool(mask.any())), None)
            brought = torch.stack([mask for _, mask in broken]).any(0)
            found[name] = (count(tensor), first, count(tensor) - int(brought.sum()))
    return found
