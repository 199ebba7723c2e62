"""Whole blocks, tile by tile: the weighted average, the weighted sum, the elected mean. Compiled; see
`sparse`.

Shape legend: E experts, N elements of a block, T of a tile. `first` counts within the stored arrays, `start`
is the index of the block's first element in its tensor (what the random drop goes by).
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np

from pipeline.kernels.fused.compiling import compiled
from pipeline.kernels.fused.floats import narrow, quantise
from pipeline.kernels.fused.sparse import TILE, load, scale, sparse

Room = namedtuple(
    "Room", ["base", "delta", "keep", "bits", "total", "up", "down", "up_weight", "down_weight"]
)

_ZERO, _ONE = np.float32(0), np.float32(1)


@compiled
def make_room() -> Any:
    """The working memory of one call: nine tiles that stay in the first two caches."""
    f32 = np.float32
    return Room(
        np.empty(TILE, f32), np.empty(TILE, f32), np.empty(TILE, f32), np.empty(TILE // 2 + 1, np.uint64),
        np.empty(TILE, f32), np.empty(TILE, f32), np.empty(TILE, f32),
        np.empty(TILE, f32), np.empty(TILE, f32),
    )  # fmt: skip


@compiled
def add(values_T: Any, total_T: Any) -> None:
    """total += values."""
    for j in range(total_T.size):
        total_T[j] += values_T[j]


@compiled
def divide(values_T: Any, divisor: Any, compute: int) -> None:
    """Divide in place and round; by one costs nothing."""
    if divisor != _ONE:
        for j in range(values_T.size):
            values_T[j] /= divisor
        quantise(values_T, compute)


@compiled
def finish(mixed_T: Any, base_T: Any, factor: Any, compute: int, stored: int, first: int, out: Any) -> None:
    """base + factor * mixed, rounded to the storage type."""
    scale(mixed_T, factor, compute)
    add(base_T, mixed_T)
    quantise(mixed_T, compute)
    narrow(mixed_T, stored, first, out)


@compiled
def average(experts: Any, numel: int, divisor: Any, compute: int, stored: int, out: Any) -> None:
    """sum_e w_e x_e / divisor, summed in fp32 and rounded once."""
    room = make_room()
    for at in range(0, numel, TILE):
        count = min(TILE, numel - at)
        total_T, work_T = room.total[:count], room.delta[:count]
        total_T[:] = _ZERO
        for e in range(experts.size):
            load(experts[e].address, experts[e].code, at, compute, work_T)
            weight = experts[e].weight
            for j in range(count):
                total_T[j] += work_T[j] * weight
        if divisor != _ONE:
            for j in range(count):
                total_T[j] /= divisor
        quantise(total_T, compute)
        narrow(total_T, stored, at, out)


@compiled
def weighted_sum(
    base: Any,
    experts: Any,
    numel: int,
    start: int,
    divisor: Any,
    factor: Any,
    compute: int,
    stored: int,
    out: Any,
) -> None:
    """base + factor * (sum_e of the experts' sparse deltas) / divisor."""
    room = make_room()
    for at in range(0, numel, TILE):
        count = min(TILE, numel - at)
        base_T, delta_T, total_T = room.base[:count], room.delta[:count], room.total[:count]
        load(base.address, base.code, at, compute, base_T)
        total_T[:] = _ZERO
        for e in range(experts.size):
            sparse(experts[e], base_T, at, start + at, compute, room, delta_T)
            add(delta_T, total_T)
        quantise(total_T, compute)
        divide(total_T, divisor, compute)
        finish(total_T, base_T, factor, compute, stored, at, out)


@compiled
def add_sides(
    values_T: Any, weight: Any, total_T: Any, up_T: Any, down_T: Any, upw_T: Any, downw_T: Any
) -> None:
    """Add a delta to the sum of all, and to the sums and weights of those that point up or down. NaN is in
    both.
    """
    for j in range(total_T.size):
        value = values_T[j]
        total_T[j] += value
        up_T[j] += _ZERO if value < _ZERO else value
        down_T[j] += _ZERO if value > _ZERO else -value
        upw_T[j] += weight if value > _ZERO else _ZERO
        downw_T[j] += weight if value < _ZERO else _ZERO


@compiled
def elected_mean(
    base: Any, experts: Any, numel: int, start: int, normalize: int, factor: Any, zero_sign: int,
    compute: int, stored: int, out: Any,
) -> None:  # fmt: skip
    """base + factor * the elected sum of the sparse deltas, over its weights if `normalize`."""
    room = make_room()
    for at in range(0, numel, TILE):
        count = min(TILE, numel - at)
        base_T, delta_T, total_T = room.base[:count], room.delta[:count], room.total[:count]
        up_T, down_T = room.up[:count], room.down[:count]
        upw_T, downw_T = room.up_weight[:count], room.down_weight[:count]
        load(base.address, base.code, at, compute, base_T)
        total_T[:], up_T[:], down_T[:], upw_T[:], downw_T[:] = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
        for e in range(experts.size):
            sparse(experts[e], base_T, at, start + at, compute, room, delta_T)
            add_sides(delta_T, experts[e].weight, total_T, up_T, down_T, upw_T, downw_T)
        quantise(total_T, compute)
        elect(total_T, up_T, down_T, upw_T, downw_T, zero_sign)
        quantise(up_T, compute)
        if normalize:
            quantise(upw_T, compute)
            for j in range(count):
                up_T[j] /= _ONE if upw_T[j] == _ZERO else upw_T[j]
            quantise(up_T, compute)
        finish(up_T, base_T, factor, compute, stored, at, out)


@compiled
def elect(total_T: Any, up_T: Any, down_T: Any, upw_T: Any, downw_T: Any, zero_sign: int) -> None:
    """Put the elected side into `up` and its weights into `up_weight`. A NaN sum elects the side below."""
    least = _ZERO if zero_sign > 0 else np.float32(1e-45)
    for j in range(total_T.size):
        above = total_T[j] >= least
        up_T[j] = up_T[j] if above else -down_T[j]
        upw_T[j] = upw_T[j] if above else downw_T[j]


@compiled
def elected_balance(base: Any, experts: Any, numel: int, start: int, compute: int) -> int:
    """Entries whose weighted sum is positive minus those where it is negative."""
    room = make_room()
    balance = np.int64(0)
    for at in range(0, numel, TILE):
        count = min(TILE, numel - at)
        base_T, delta_T, total_T = room.base[:count], room.delta[:count], room.total[:count]
        load(base.address, base.code, at, compute, base_T)
        total_T[:] = _ZERO
        for e in range(experts.size):
            sparse(experts[e], base_T, at, start + at, compute, room, delta_T)
            add(delta_T, total_T)
        quantise(total_T, compute)
        here = np.int32(0)
        for j in range(count):
            here += np.int32(total_T[j] > _ZERO) - np.int32(total_T[j] < _ZERO)
        balance += here
    return int(balance)
