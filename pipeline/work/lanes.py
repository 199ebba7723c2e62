"""Where the arithmetic runs: raw input bytes -> Block -> raw output bytes, on the CPU or on a CUDA device.

A lane converts to the compute dtype on the way in and casts once on the way out. On CUDA the bytes go through
pinned buffers and a copy stream, so that the next tile travels while this one is computed. It knows no files
and no method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.methods.contract import Block
from pipeline.methods.parts.deltas import canonical_nan_
from pipeline.plan.cost import LOAD_ELEMENTS, TILE_ELEMENTS
from pipeline.values import DType
from pipeline.work.reading import Bytes, Load


@dataclass(frozen=True)
class Staged:
    """A tile on its way to the device: one typed 1-D tensor an input, base first; `ready` is a CUDA event or
    None.
    """

    load: Load
    start: int
    stop: int
    inputs: tuple[Tensor, ...]
    ready: Any = None


def torch_dtype(dtype: DType) -> torch.dtype:
    """torch's own object for one of our storage types."""
    found = getattr(torch, dtype.name)
    assert isinstance(found, torch.dtype)
    return found


class CpuLane:
    """The reference lane: views on the read buffers, one reused workspace, plain torch."""

    device = "cpu"

    def __init__(self) -> None:
        self.tile_elements = TILE_ELEMENTS[self.device]
        self.load_elements = LOAD_ELEMENTS[self.device]
        self._workspace: dict[torch.dtype, Tensor] = {}

    def allocate(self, size_bytes: int) -> Bytes:
        """A fresh byte buffer that this lane reads from or writes to."""
        return np.empty(size_bytes, np.uint8)

    def stage(self, load: Load, start: int, stop: int) -> Staged:
        """Elements [start, stop) of the load (counted within it) as typed views; nothing is copied yet."""
        return Staged(load, start, stop, self._views(load, start, stop))

    def block(self, staged: Staged, models: tuple[str, ...]) -> Block:
        """The staged tile in the compute dtype, in a workspace that the next call overwrites."""
        tensor = staged.load.request.order.tensor
        dtype = torch_dtype(tensor.compute)
        count, length = len(staged.inputs), staged.stop - staged.start
        rows = self._room(dtype, count * length).view(count, length)
        for row, source in zip(rows, staged.inputs, strict=True):
            row.copy_(source)
        return _block(staged, models, rows)

    def store(self, merged_N: Tensor, dtype: DType, out: Bytes) -> None:
        """Cast once to the storage type, into `out`, with every NaN in its standard form."""
        stored_N = torch.from_numpy(out).view(torch_dtype(dtype)).copy_(merged_N)
        if stored_N.dtype != merged_N.dtype:
            canonical_nan_(stored_N)

    def settle(self) -> None:
        """Return when everything stored has arrived and no buffer is being read; on a CPU that is now."""

    def _views(self, load: Load, start: int, stop: int) -> tuple[Tensor, ...]:
        views = []
        for source, raw in zip(load.request.order.tensor.inputs, load.raw, strict=True):
            size = source.dtype.size_bytes
            views.append(torch.from_numpy(raw[start * size : stop * size]).view(torch_dtype(source.dtype)))
        return tuple(views)

    def _room(self, dtype: torch.dtype, numel: int) -> Tensor:
        held = self._workspace.get(dtype)
        if held is None or held.numel() < numel:
            held = self._workspace[dtype] = torch.empty(numel, dtype=dtype)
        return held[:numel]


class Copies:
    """Copies from pinned host buffers to the GPU, on a stream of their own."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own gap

    def start(self, views: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Any]:
        """Begin copying and return at once: the device tensors, and the event that says they have arrived."""
        with torch.cuda.stream(self._stream):
            inputs = tuple(view.to("cuda", non_blocking=True) for view in views)
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's own gap
            ready.record(self._stream)
        return inputs, ready

    def arrive(self, staged: Staged) -> None:
        """Let the arithmetic's stream wait for the copies, and the memory wait for the arithmetic."""
        compute = torch.cuda.current_stream()
        compute.wait_event(staged.ready)
        for source in staged.inputs:
            source.record_stream(compute)

    def finish(self) -> None:
        """Wait for everything on the device."""
        torch.cuda.synchronize()


class CudaLane(CpuLane):
    """The same on a GPU: pinned host buffers, copies on a stream of their own, one tile ahead."""

    device = "cuda"

    def __init__(self, copies: Copies | None = None) -> None:
        super().__init__()
        self._copies = copies or Copies()

    def allocate(self, size_bytes: int) -> Bytes:
        """A page-locked buffer, so that copies can run beside the arithmetic."""
        pinned: Bytes = torch.empty(
            size_bytes, dtype=torch.uint8, pin_memory=torch.cuda.is_available()
        ).numpy()
        return pinned

    def stage(self, load: Load, start: int, stop: int) -> Staged:
        """Start the copies to the device and return at once."""
        inputs, ready = self._copies.start(self._views(load, start, stop))
        return Staged(load, start, stop, inputs, ready)

    def block(self, staged: Staged, models: tuple[str, ...]) -> Block:
        """Wait on the device for the copies, then convert there."""
        self._copies.arrive(staged)
        dtype = torch_dtype(staged.load.request.order.tensor.compute)
        return _block(staged, models, torch.stack([source.to(dtype) for source in staged.inputs]))

    def store(self, merged_N: Tensor, dtype: DType, out: Bytes) -> None:
        """Cast on the device and start the copy back."""
        host = torch.from_numpy(out).view(torch_dtype(dtype))
        host.copy_(canonical_nan_(merged_N.to(torch_dtype(dtype))), non_blocking=True)

    def settle(self) -> None:
        """Wait for all copies in both directions."""
        self._copies.finish()


def _block(staged: Staged, models: tuple[str, ...], rows: Tensor) -> Block:
    """Split the stacked inputs into base and experts and say where in the tensor they lie."""
    request = staged.load.request
    has_base = request.order.tensor.base is not None
    return Block(
        tensor=request.order.tensor.spec.name,
        start=request.start + staged.start,
        base_N=rows[0] if has_base else None,
        experts_EN=rows[1:] if has_base else rows,
        models=models,
    )


def make_lane(device: str) -> CpuLane:
    """The lane for "cpu" or "cuda"."""
    return CudaLane() if device == "cuda" else CpuLane()
