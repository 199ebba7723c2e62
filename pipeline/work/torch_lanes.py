"""Lanes through torch: on the CPU the reference, on a GPU through pinned buffers and a copy stream.

Inputs are converted to the compute type on the way in and cast once on the way out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline.kernels.contract import Block
from pipeline.kernels.plain.block import PlainBlock
from pipeline.kernels.plain.deltas import canonical_nan_
from pipeline.values import DType
from pipeline.work.lanes import Lane, Staged
from pipeline.work.reading import Bytes, Load


def torch_dtype(dtype: DType) -> torch.dtype:
    """torch's own object for one of our storage types."""
    found = getattr(torch, dtype.name)
    assert isinstance(found, torch.dtype)
    return found


class TorchLane(Lane):
    """Plain torch on the CPU, one thread: views on the read buffers, one reused workspace."""

    def __init__(self) -> None:
        super().__init__()
        if torch.get_num_threads() != 1:  # parallelism comes from units
            torch.set_num_threads(1)
        self._workspace: dict[torch.dtype, Tensor] = {}

    def block(self, staged: Staged, models: tuple[str, ...], out: Bytes) -> Block:
        """The tile in the compute type, in a workspace that the next call overwrites."""
        inputs = _views(staged.load, staged.start, staged.stop)
        dtype = torch_dtype(staged.tensor.compute)
        length = staged.stop - staged.start
        rows = self._room(dtype, len(inputs) * length).view(len(inputs), length)
        for row, source in zip(rows, inputs, strict=True):
            row.copy_(source)
        return _block(staged, models, rows)

    def store(self, merged: Any, dtype: DType, out: Bytes) -> None:
        """See `Lane`."""
        stored_N = torch.from_numpy(out).view(torch_dtype(dtype)).copy_(merged)
        if stored_N.dtype != merged.dtype:
            canonical_nan_(stored_N)

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

    def back(self, host: Tensor, values: Tensor) -> None:
        """Begin copying results into a pinned buffer and return at once."""
        host.copy_(values, non_blocking=True)

    def finish(self) -> None:
        """Wait for everything on the device."""
        torch.cuda.synchronize()


class CudaLane(Lane):
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
        inputs, ready = self._copies.start(_views(load, start, stop))
        return Staged(load, start, stop, inputs, ready)

    def block(self, staged: Staged, models: tuple[str, ...], out: Bytes) -> Block:
        """Wait on the device for the copies, then convert there."""
        self._copies.arrive(staged)
        rows = _rows(staged, torch_dtype(staged.tensor.compute))
        return _block(staged, models, rows)

    def store(self, merged: Any, dtype: DType, out: Bytes) -> None:
        """Cast on the device and start the copy back."""
        host = torch.from_numpy(out).view(torch_dtype(dtype))
        self._copies.back(host, canonical_nan_(merged.to(torch_dtype(dtype))))

    def settle(self) -> None:
        """Wait for all copies in both directions."""
        self._copies.finish()


def _views(load: Load, start: int, stop: int) -> tuple[Tensor, ...]:
    """A tile's elements in every input, typed; nothing is copied."""
    views = []
    for source, raw in zip(load.request.order.tensor.inputs, load.raw, strict=True):
        size = source.dtype.size_bytes
        views.append(torch.from_numpy(raw[start * size : stop * size]).view(torch_dtype(source.dtype)))
    return tuple(views)


def _rows(staged: Staged, dtype: torch.dtype) -> Tensor:
    """The inputs in the compute type, a row each, where they lie: one array, nothing beside it."""
    inputs = staged.inputs
    rows = torch.empty((len(inputs), inputs[0].numel()), dtype=dtype, device=inputs[0].device)
    for row, source in zip(rows, inputs, strict=True):
        row.copy_(source)
    return rows


def _block(staged: Staged, models: tuple[str, ...], rows: Tensor) -> PlainBlock:
    """Split the stacked inputs into base and experts and say where in the tensor they lie."""
    has_base = staged.tensor.base is not None
    return PlainBlock(
        tensor=staged.tensor.drawn_name,
        start=staged.load.request.start + staged.start,
        base_N=rows[0] if has_base else None,
        experts_EN=rows[1:] if has_base else rows,
        models=models,
    )
