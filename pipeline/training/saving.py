"""Weights of a model in training as an ordinary checkpoint, in the base's stored type. Never trains."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.checkpoint.companions import plan_companions, write_companions
from pipeline.checkpoint.files import sync_directory, sync_file
from pipeline.checkpoint.index import read_directory
from pipeline.values import ModelRef

if TYPE_CHECKING:
    import torch


def stored_dtype(base: Path) -> str:
    """torch's name of the type that most of the base's weights are stored in."""
    count: Counter[str] = Counter()
    for entry in read_directory(ModelRef(str(base)), base).tensors.values():
        if entry.spec.dtype.is_float:
            count[entry.spec.dtype.name] += entry.spec.numel
    return count.most_common(1)[0][0]


@contextmanager
def as_stored(model: Any, dtype: torch.dtype) -> Iterator[None]:
    """Inside, every parameter has the value it will have on disk: rounded to `dtype`, its own type kept."""
    masters = {name: parameter.data for name, parameter in model.named_parameters()}
    try:
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype).to(parameter.dtype)
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.data = masters[name]


def save_weights(model: Any, state: Mapping[str, Any], base: Path, dtype: torch.dtype, folder: Path) -> None:
    """Write `state` (the model's tensors by name) in `dtype` into `folder`, with the base's config and
    tokenizer files.
    """
    cast: dict[tuple[int, Any], Any] = {}  # tensors that share memory (tied ones) go on sharing it
    stored = {
        name: cast.setdefault((tensor.data_ptr(), tensor.shape), tensor.to(dtype))
        if tensor.is_floating_point()
        else tensor
        for name, tensor in state.items()
    }
    kept = model.config.dtype
    model.save_pretrained(folder, state_dict=stored)
    model.config.dtype = kept
    index = read_directory(ModelRef(str(base)), base)
    write_companions(plan_companions(index, out_dtype=str(dtype).removeprefix("torch.")), folder)


def publish(folder: Path, out: Path, mode: int) -> None:
    """Give every file `mode`, put the folder's bytes on the disk and rename it to `out`. OSError: `out` holds
    something.
    """
    for file in folder.iterdir():
        file.chmod(mode)
        sync_file(file)
    sync_directory(folder)
    os.rename(folder, out)
    sync_directory(out.parent)
