"""The merge plan: everything decided before a byte of weights is read. Frozen values only; it runs nothing.

A plan is a lock file. Workers decide nothing: which bytes to read, what to do with them and where the result
goes all stand here, and `fingerprint` names what the output bytes depend on. How the work is cut (pieces,
units) does not change the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pipeline.checkpoint.companions import Companion
from pipeline.checkpoint.index import CheckpointIndex
from pipeline.checkpoint.layout import ShardLayout
from pipeline.config.merge import MergeConfig
from pipeline.methods.contract import Knobs
from pipeline.values import DType, TensorSpec


@dataclass(frozen=True)
class Source:
    """Where one model keeps one tensor: file, absolute offset of its first byte, storage type."""

    file: str
    start_byte: int
    dtype: DType


@dataclass(frozen=True)
class TensorPlan:
    """One output tensor. "merge" runs the method; "copy" is for tensors that are not floats and must be
    equal.

    `sources` holds the experts in the config's order; `base` is None where the method ignores it.
    `compute` is the arithmetic's type; `spec` is what is written, at `start_byte` of file
    `file`. `draws_as` is the tensor whose random draws it shares, "" for its own.
    """

    spec: TensorSpec
    action: Literal["merge", "copy"]
    sources: tuple[Source, ...]
    base: Source | None
    compute: DType
    knobs: Knobs
    file: str
    start_byte: int
    draws_as: str = ""

    @property
    def drawn_name(self) -> str:
        """The name that its random draws are made under."""
        return self.draws_as or self.spec.name

    @property
    def inputs(self) -> tuple[Source, ...]:
        """Every source in reading order: base first where there is one."""
        return self.sources if self.base is None else (self.base, *self.sources)

    @property
    def read_bytes_per_element(self) -> int:
        """Bytes read from all inputs for one output element."""
        return sum(source.dtype.size_bytes for source in self.inputs)

    def piece_name(self, piece: Piece) -> str:
        """What receipts and measures call a piece of this tensor: "name[start:stop]"."""
        return f"{self.spec.name}[{piece.start}:{piece.stop}]"


def read_together(tensors: Sequence[TensorPlan]) -> TensorPlan:
    """One tensor as several merges need it: every input of any of them, once. For reading only."""
    sources = dict.fromkeys(source for tensor in tensors for source in tensor.inputs)
    return replace(tensors[0], base=None, sources=tuple(sources))


@dataclass(frozen=True)
class Piece:
    """Elements [start, stop) of one tensor.

    "stream": totals are known or not needed, so it flows through small buffers.
    "resident": the whole tensor is held while it is measured and merged, so that its bytes are read once.
    """

    tensor: int
    start: int
    stop: int
    mode: Literal["stream", "resident"]

    @property
    def numel(self) -> int:
        """Number of elements."""
        return self.stop - self.start


#: Receipts of measuring begin with the id of their unit.
UNIT_ID_LENGTH = 21


@dataclass(frozen=True)
class UnitPlan:
    """Pieces that one worker handles in one go. `group` is the index of the measured group they belong to, or
    None.
    """

    id: str
    pieces: tuple[Piece, ...]
    group: int | None
    read_bytes: int
    write_bytes: int
    expected_s: float


@dataclass(frozen=True)
class Group:
    """Tensors whose totals are found together, by measuring units in rounds before any of them is merged.

    `passes`: how often everything in them is expected to be read for that.
    """

    tensors: tuple[int, ...]
    numel: int
    knobs: Knobs
    passes: int


@dataclass(frozen=True)
class Cost:
    """What the run will take. `memory_bytes` is the planned peak of one worker's buffers and workspace."""

    read_bytes: int
    write_bytes: int
    memory_bytes: int
    seconds: float


@dataclass(frozen=True)
class Limits:
    """What the planner may count on. `memory_bytes` is for one worker's buffers, interpreter not included;
    `disk_bytes_per_s` is one worker's share of the storage."""

    memory_bytes: int
    workers: int = 1
    disk_bytes_per_s: float = 3e9


@dataclass(frozen=True)
class MergePlan:
    """All of it. `experts` are the merged models in order, `base` the base's index where it takes part,
    `companion` the model that gives config and tokenizer, `companions` these files. `discard`: merged bytes
    are digested and dropped.
    """

    config: MergeConfig
    fingerprint: str
    device: str
    limits: Limits
    experts: tuple[CheckpointIndex, ...]
    base: CheckpointIndex | None
    companion: CheckpointIndex
    tensors: tuple[TensorPlan, ...]
    shards: tuple[ShardLayout, ...]
    groups: tuple[Group, ...]
    units: tuple[UnitPlan, ...]
    cost: Cost
    notes: tuple[str, ...] = field(default=())
    companions: tuple[Companion, ...] = field(default=())
    discard: bool = False

    @property
    def indexes(self) -> tuple[CheckpointIndex, ...]:
        """Every model whose weights are read, base first where there is one."""
        return self.experts if self.base is None else (self.base, *self.experts)

    def summary(self) -> dict[str, Any]:
        """The plan as plain data for `plan --json` and for the work directory."""
        return {
            "fingerprint": self.fingerprint,
            "method": self.config.merge_method,
            "device": self.device,
            "models": [str(index.ref) for index in self.indexes],
            "companions_from": str(self.companion.ref),
            "tensors": len(self.tensors),
            "parameters": sum(tensor.spec.numel for tensor in self.tensors),
            "files": [{"name": shard.name, "size_bytes": shard.size_bytes} for shard in self.shards],
            "units": len(self.units),
            "measured_groups": len(self.groups),
            "read_bytes": self.cost.read_bytes,
            "write_bytes": self.cost.write_bytes,
            "workers": self.limits.workers,
            "worker_memory_bytes": self.cost.memory_bytes,
            "estimated_s": round(self.cost.seconds, 2),
            "notes": list(self.notes),
        }
