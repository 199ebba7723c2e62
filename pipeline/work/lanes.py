"""Where the arithmetic runs: a load's raw bytes -> blocks -> raw output bytes, on the CPU or on a CUDA
device.

On the CPU compiled loops work on the stored bytes themselves (`kernels.fused`). What they do not know, fp64
above all, and everything where numba is missing, goes through torch (`torch_lanes`), which only then is
loaded. A lane knows no files and no method.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.checkpoint.buffers import LINE_BYTES
from pipeline.errors import RunError
from pipeline.kernels import FUSED_COMPUTE, has_fused
from pipeline.kernels.contract import Block
from pipeline.plan.cost import LOAD_ELEMENTS, TILE_ELEMENTS
from pipeline.plan.plan import TensorPlan
from pipeline.values import DType
from pipeline.work.reading import Bytes, Load

if TYPE_CHECKING:
    from pipeline.kernels.fused.block import FusedBlock, Stored

#: Measuring needs no place for a result.
NOWHERE: Bytes = np.empty(0, np.uint8)


@dataclass(frozen=True)
class Staged:
    """Elements [start, stop) of a load (counted within it), perhaps on their way to a device.

    inputs: what the lane has made of them so far.  ready: a CUDA event or None.
    """

    load: Load
    start: int
    stop: int
    inputs: tuple[Any, ...] = ()
    ready: Any = None

    @property
    def tensor(self) -> TensorPlan:
        """The plan of the tensor they belong to."""
        return self.load.request.order.tensor


class Lane:
    """What every lane offers; this one stages nothing."""

    device = "cpu"

    def __init__(self) -> None:
        self.tile_elements = TILE_ELEMENTS[self.device]
        self.load_elements = LOAD_ELEMENTS[self.device]

    def tile(self, tensor: TensorPlan) -> int:
        """Elements of one block of this tensor."""
        return self.tile_elements

    def allocate(self, size_bytes: int) -> Bytes:
        """A fresh byte buffer that this lane reads from or writes to; it begins with a cache line."""
        wider = np.empty(size_bytes + LINE_BYTES, np.uint8)
        begin = -wider.ctypes.data % LINE_BYTES
        return wider[begin : begin + size_bytes]

    def stage(self, load: Load, start: int, stop: int) -> Staged:
        """Begin to bring a tile to where it will be computed, and return at once."""
        return Staged(load, start, stop)

    def block(self, staged: Staged, models: tuple[str, ...], out: Bytes) -> Block:
        """The staged tile as a block whose merged elements may be laid down in `out`; valid until the next
        one.
        """
        raise NotImplementedError

    def store(self, merged: Any, dtype: DType, out: Bytes) -> None:
        """Lay what a block merged down in `out`, cast once to the storage type, every NaN in its standard
        form.
        """
        raise NotImplementedError

    def settle(self) -> None:
        """Return when everything stored has arrived and no buffer is being read."""


class CpuLane(Lane):
    """Compiled loops, and torch for what they do not know."""

    def __init__(self) -> None:
        super().__init__()
        self._fused = has_fused()
        self._torch: Lane | None = None

    def tile(self, tensor: TensorPlan) -> int:
        """See `Lane`. Compiled loops hold nothing of a block's size, so that it may be a load."""
        return max(self.load_elements, self.tile_elements) if self._knows(tensor) else self.tile_elements

    def block(self, staged: Staged, models: tuple[str, ...], out: Bytes) -> Block:
        """See `Lane`."""
        tensor = staged.tensor
        if not self._knows(tensor):
            return self._in_torch().block(staged, models, out)
        FusedBlock, Stored = _fused_forms()
        stored = []
        for source, raw in zip(tensor.inputs, staged.load.raw, strict=True):
            size = source.dtype.size_bytes
            stored.append(Stored(raw[staged.start * size : staged.stop * size], source.dtype.name))
        has_base = tensor.base is not None
        return FusedBlock(
            tensor=tensor.drawn_name,
            start=staged.load.request.start + staged.start,
            numel=staged.stop - staged.start,
            models=models,
            compute=tensor.compute.name,
            base=stored[0] if has_base else None,
            experts=tuple(stored[1:] if has_base else stored),
            stored=tensor.spec.dtype.name,
            out=out,
        )

    def store(self, merged: Any, dtype: DType, out: Bytes) -> None:
        """See `Lane`. Compiled loops have laid their result down already."""
        if not isinstance(merged, np.ndarray):
            self._in_torch().store(merged, dtype, out)

    def _knows(self, tensor: TensorPlan) -> bool:
        return self._fused and tensor.compute.name in FUSED_COMPUTE

    def _in_torch(self) -> Lane:
        if self._torch is None:
            from pipeline.work.torch_lanes import TorchLane

            self._torch = TorchLane()
        return self._torch


@cache
def _fused_forms() -> tuple[type[FusedBlock], type[Stored]]:
    """What compiled loops work on. Raises RunError where numba is installed and cannot be loaded."""
    try:
        from pipeline.kernels.fused.block import FusedBlock, Stored
    except ImportError as error:
        raise RunError(
            "numba is installed here but cannot be loaded",
            found=str(error),
            hint="install a numba that fits this numpy, or uninstall it: torch does the same, more slowly",
        ) from error
    return FusedBlock, Stored


def make_lane(device: str) -> Lane:
    """The lane for "cpu" or "cuda"."""
    if device == "cpu":
        return CpuLane()
    from pipeline.work.torch_lanes import CudaLane

    return CudaLane()
