"""Where every output tensor goes: shard files, their headers byte for byte, offsets. Pure; writes nothing.

The bytes are those safetensors itself would write for the same tensors, so several workers can fill one
pre-sized file at positions known before the first weight is read.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.values import TensorSpec

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True)
class ShardLayout:
    """One output file: header with its length field, size in all, each tensor's absolute offset."""

    name: str
    header: bytes
    size_bytes: int
    offsets: dict[str, int]

    @property
    def data_bytes(self) -> int:
        """Bytes of the tensors alone."""
        return self.size_bytes - len(self.header)


def lay_out(specs: Sequence[TensorSpec], shard_size_bytes: int) -> tuple[ShardLayout, ...]:
    """Fill shards with tensors in the natural order of their names, up to `shard_size_bytes` of data each.

    A tensor larger than that has a shard of its own. One shard is called `model.safetensors`, several
    `model-00001-of-0000N.safetensors`. The order of `specs` does not matter; names must differ.
    """
    if shard_size_bytes <= 0:
        raise ValueError(f"shard size must be positive, not {shard_size_bytes}")
    if len({spec.name for spec in specs}) != len(specs):
        raise ValueError("two tensors have the same name")
    shards = list(_fill(sorted(specs, key=lambda spec: natural_key(spec.name)), shard_size_bytes))
    if len(shards) == 1:
        return (_shard(SINGLE_NAME, shards[0]),)
    count = len(shards)
    return tuple(
        _shard(f"model-{number:05d}-of-{count:05d}.safetensors", shard)
        for number, shard in enumerate(shards, 1)
    )


def index_json(shards: Sequence[ShardLayout]) -> bytes:
    """The content of `model.safetensors.index.json`: total size of the tensors and name -> file."""
    where = {name: shard.name for shard in shards for name in shard.offsets}
    content = {
        "metadata": {"total_size": sum(shard.data_bytes for shard in shards)},
        "weight_map": {name: where[name] for name in sorted(where, key=natural_key)},
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def natural_key(name: str) -> tuple[list[str | tuple[int, str]], str]:
    """Sort key under which runs of digits count as numbers: layers.2 comes before layers.10."""
    parts: list[str | tuple[int, str]] = list(_DIGITS.split(name))
    for i in range(1, len(parts), 2):
        digits = str(parts[i]).lstrip("0")
        parts[i] = (len(digits), digits)
    return parts, name


def _fill(specs: Sequence[TensorSpec], limit_bytes: int) -> Iterator[list[TensorSpec]]:
    """Consecutive tensors together while they fit; at least one list, even of nothing."""
    batch: list[TensorSpec] = []
    size = 0
    for spec in specs:
        if batch and size + spec.size_bytes > limit_bytes:
            yield batch
            batch, size = [], 0
        batch.append(spec)
        size += spec.size_bytes
    yield batch


def _shard(name: str, specs: Sequence[TensorSpec]) -> ShardLayout:
    """These tensors as safetensors lays them: types of higher rank first, then names by their UTF-8 bytes."""
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    starts: dict[str, int] = {}
    position = 0
    for spec in sorted(specs, key=lambda spec: (-spec.dtype.rank, spec.name.encode())):
        stop = position + spec.size_bytes
        table[spec.name] = {
            "dtype": spec.dtype.code,
            "shape": list(spec.shape),
            "data_offsets": [position, stop],
        }
        starts[spec.name] = position
        position = stop
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    header = struct.pack("<Q", len(text)) + text
    offsets = {name: len(header) + start for name, start in starts.items()}
    return ShardLayout(name, header, len(header) + position, offsets)
