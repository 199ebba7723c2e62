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
from pipeline.kernels.fused.floats import F32, narrow, quantise
from pipeline.kernels.fused.sparse import TILE, load, scale, sparse

Room = namedtuple("Room", ["base", "delta", "keep", "bits", "total", "agreeing", "divisor"])

_ZERO, _ONE = np.float32(0), np.float32(1)


@compiled
def make_room() -> Any:
    """The working memory of one call: tiles that stay in the first two caches."""
    f32 = np.float32
    return Room(
        np.empty(TILE, f32), np.empty(TILE, f32), np.empty(TILE, f32), np.empty(TILE // 2 + 1, np.uint64),
        np.empty(TILE, f32), np.empty(TILE, f32), np.empty(TILE, f32),
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
        divide(total_T, divisor, F32)
        quantise(total_T, compute)
        narrow(total_T, stored, at, out)


@compiled
def sum_sparse(
    base: Any, experts: Any, at: int, start: int, compute: int, room: Any, base_T: Any, total_T: Any
) -> None:
    """The sum of a tile's sparse deltas, rounded once, in `total_T`; the base's elements in `base_T`."""
    delta_T = room.delta[: total_T.size]
    load(base.address, base.code, at, compute, base_T)
    total_T[:] = _ZERO
    for e in range(experts.size):
        sparse(experts[e], base_T, at, start + at, compute, room, delta_T)
        add(delta_T, total_T)
    quantise(total_T, compute)


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
        base_T, total_T = room.base[:count], room.total[:count]
        sum_sparse(base, experts, at, start, compute, room, base_T, total_T)
        divide(total_T, divisor, compute)
        finish(total_T, base_T, factor, compute, stored, at, out)


@compiled
def elected_mean(
    base: Any, experts: Any, numel: int, start: int, normalize: int, factor: Any, zero_sign: int,
    compute: int, stored: int, out: Any,
) -> None:  # fmt: skip
    """base + factor * the elected sum of the sparse deltas, over its weights if `normalize`."""
    room = make_room()
    deltas_ET = np.empty((experts.size, TILE), np.float32)
    for at in range(0, numel, TILE):
        count = min(TILE, numel - at)
        base_T, total_T = room.base[:count], room.total[:count]
        agreeing_T, divisor_T = room.agreeing[:count], room.divisor[:count]
        load(base.address, base.code, at, compute, base_T)
        total_T[:], agreeing_T[:], divisor_T[:] = _ZERO, _ZERO, _ZERO
        for e in range(experts.size):
            sparse(experts[e], base_T, at, start + at, compute, room, deltas_ET[e, :count])
            add(deltas_ET[e, :count], total_T)
        quantise(total_T, compute)
        elect(total_T, zero_sign)
        for e in range(experts.size):
            if normalize:
                agree_weighted(deltas_ET[e, :count], total_T, experts[e].weight, agreeing_T, divisor_T)
            else:
                agree(deltas_ET[e, :count], total_T, agreeing_T)
        quantise(agreeing_T, compute)
        for j in range(count):
            agreeing_T[j] *= total_T[j]
        if normalize:
            quantise(divisor_T, compute)
            for j in range(count):
                agreeing_T[j] /= _ONE if divisor_T[j] == _ZERO else divisor_T[j]
            quantise(agreeing_T, compute)
        finish(agreeing_T, base_T, factor, compute, stored, at, out)


@compiled
def elect(total_T: Any, zero_sign: int) -> None:
    """+1 or -1 for each sum, in its place. A NaN sum elects -1."""
    least = _ZERO if zero_sign > 0 else np.float32(1e-45)
    for j in range(total_T.size):
        total_T[j] = _ONE if total_T[j] >= least else -_ONE


@compiled
def agree(delta_T: Any, sign_T: Any, agreeing_T: Any) -> None:
    """Add what points along the sign. A NaN always does."""
    for j in range(agreeing_T.size):
        along = delta_T[j] * sign_T[j]
        agreeing_T[j] += _ZERO if along < _ZERO else along


@compiled
def agree_weighted(delta_T: Any, sign_T: Any, weight: Any, agreeing_T: Any, divisor_T: Any) -> None:
    """The same, and the weights of those that do."""
    for j in range(agreeing_T.size):
        along = delta_T[j] * sign_T[j]
        agreeing_T[j] += _ZERO if along < _ZERO else along
        divisor_T[j] += weight if along > _ZERO else _ZERO


@compiled
def elected_balance(base: Any, experts: Any, numel: int, start: int, compute: int) -> int:
    """Entries whose weighted sum is positive minus those where it is negative."""
    room = make_room()
    balance = np.int64(0)
    for at in range(0, numel, TILE):
        count = min(TILE, numel - at)
        base_T, total_T = room.base[:count], room.total[:count]
        sum_sparse(base, experts, at, start, compute, room, base_T, total_T)
        here = np.int32(0)
        for j in range(count):
            here = np.int32(here + (total_T[j] > _ZERO) - (total_T[j] < _ZERO))
        balance += here
    return int(balance)
