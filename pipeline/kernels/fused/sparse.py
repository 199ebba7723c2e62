"""One expert's sparse delta, a tile at a time: subtract, drop, trim, scale. Compiled; nothing is allocated.

Shape legend: T elements of one tile, small enough to stay in a core's first cache.

Loops are small and touch few arrays, because that is what the compiler turns into vector instructions. Sums
of 32-bit integers are cast back to 32 bits: numba makes 64 of them, of which a vector holds half as many.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.kernels.fused.compiling import compiled
from pipeline.kernels.fused.floats import (
    BF16,
    F16,
    F32,
    as_bits,
    bf16_at,
    f16_at,
    f32_at,
    f64_at,
    quantise,
    single,
)
from pipeline.kernels.keys import GAMMA, STEPS

TILE = 1024

#: What a loop knows of one expert; `contract.Losses` and its weight in plain numbers.
#: equal: how many entries equal to the threshold stay, counted down; seen: how many there were, counted up.
EXPERT = np.dtype(
    [
        ("address", "u8"), ("code", "i8"), ("weight", "f4"), ("factor", "f4"),
        ("drops", "i8"), ("key", "u8"), ("draw_below", "i8"),
        ("trims", "i8"), ("pattern", "u4"), ("equal", "i8"), ("seen", "i8"),
    ]
)  # fmt: skip

_ABSOLUTE = np.uint32(0x7FFFFFFF)
_GAMMA = np.uint64(GAMMA)
(_S30, _FIRST), (_S27, _SECOND), (_S31, _) = (map(np.uint64, step) for step in STEPS)
_ONE, _ZERO = np.float32(1), np.float32(0)


@compiled
def load(address: int, code: int, first: int, compute: int, out_T: Any) -> None:
    """Stored elements from `first` on, in the compute type."""
    count = out_T.size
    if code == BF16:
        _copy(bf16_at(address, first, count), out_T)
    elif code == F16:
        _copy(f16_at(address, first, count), out_T)
    elif code == F32:
        _copy(f32_at(address, first, count), out_T)
    else:
        _copy(f64_at(address, first, count), out_T)
    quantise(out_T, compute)


@compiled
def _copy(stored_T: Any, out_T: Any) -> None:
    for j in range(out_T.size):
        out_T[j] = single(stored_T[j])


@compiled
def delta(expert: Any, base_T: Any, first: int, compute: int, out_T: Any) -> None:
    """Expert minus base, rounded."""
    code, count = expert.code, out_T.size
    if compute != F32:
        load(expert.address, code, first, compute, out_T)
        for j in range(count):
            out_T[j] -= base_T[j]
        quantise(out_T, compute)
    elif code == BF16:
        _subtract(bf16_at(expert.address, first, count), base_T, out_T)
    elif code == F16:
        _subtract(f16_at(expert.address, first, count), base_T, out_T)
    elif code == F32:
        _subtract(f32_at(expert.address, first, count), base_T, out_T)
    else:
        _subtract(f64_at(expert.address, first, count), base_T, out_T)


@compiled
def _subtract(stored_T: Any, base_T: Any, out_T: Any) -> None:
    for j in range(out_T.size):
        out_T[j] = single(stored_T[j]) - base_T[j]


@compiled
def scale(values_T: Any, factor: Any, compute: int) -> None:
    """Multiply in place and round; a factor of one changes nothing."""
    if factor != _ONE:
        for j in range(values_T.size):
            values_T[j] *= factor
        quantise(values_T, compute)


@compiled
def draw(key: Any, start: int, bits_P: Any) -> None:
    """The hash of `kernels.keys` for every pair of entries from the pair that holds entry `start` on."""
    counter = key + np.uint64(start // 2) * _GAMMA
    for p in range(bits_P.size):
        z = (counter ^ (counter >> _S30)) * _FIRST
        counter += _GAMMA
        z = (z ^ (z >> _S27)) * _SECOND
        bits_P[p] = z ^ (z >> _S31)


@compiled
def survivors(expert: Any, start: int, bits_P: Any, keep_T: Any) -> None:
    """1.0 where the entry survives the random drop, 0.0 elsewhere; `start` counts within the tensor."""
    below = expert.draw_below
    if not expert.drops or below > np.int64(0x7FFFFFFF):
        keep_T[:] = _ONE
        return
    draw(expert.key, start, bits_P)
    halves = bits_P.view(np.int32)[start % 2 :]
    limit = np.int32(below)
    for j in range(keep_T.size):
        keep_T[j] = _ONE if halves[j] < limit else _ZERO


@compiled
def dropped(expert: Any, base_T: Any, first: int, start: int, compute: int, room: Any, out_T: Any) -> None:
    """The delta with what the random drop takes at zero (a NaN stays one)."""
    delta(expert, base_T, first, compute, out_T)
    if expert.drops:
        keep_T = room.keep[: out_T.size]
        survivors(expert, start, room.bits, keep_T)
        for j in range(out_T.size):
            out_T[j] *= keep_T[j]


@compiled
def count_equal(values_T: Any, pattern: Any) -> int:
    """How many magnitudes have exactly this bit pattern."""
    count = np.int32(0)
    for j in range(values_T.size):
        count = np.int32(count + ((as_bits(values_T[j]) & _ABSOLUTE) == pattern))
    return int(count)


@compiled
def trim(expert: Any, values_T: Any) -> None:
    """Zero what lies below the threshold; of the entries equal to it the first `expert.equal` stay."""
    pattern, left = expert.pattern, expert.equal
    least = pattern if left else np.uint32(pattern + np.uint32(1))
    count = np.int32(0)
    for j in range(values_T.size):
        bits = np.uint32(as_bits(values_T[j]) & _ABSOLUTE)
        count = np.int32(count + (bits == pattern))
        values_T[j] *= _ONE if bits >= least else _ZERO
    expert.seen += count
    expert.equal = max(0, left - count)
    if 0 < left < count:  # once a tensor: this tile holds the last one that stays
        for j in range(values_T.size):
            if (as_bits(values_T[j]) & _ABSOLUTE) == pattern:
                values_T[j] *= _ONE if left > 0 else _ZERO
                left -= 1


@compiled
def sparse(expert: Any, base_T: Any, first: int, start: int, compute: int, room: Any, out_T: Any) -> None:
    """What is left of an expert's delta: dropped, trimmed, rescaled and weighted."""
    dropped(expert, base_T, first, start, compute, room, out_T)
    if expert.trims:
        trim(expert, out_T)
    scale(out_T, expert.factor, compute)
    scale(out_T, expert.weight, compute)
