"""One expert's sparse delta, a tile at a time: subtract, drop, trim, scale. Compiled loops; nothing is
allocated.

Shape legend: T elements of one tile, small enough to stay in a core's first cache. Each step is a loop of its
own over the tile, because that is what the compiler turns into vector instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.kernels.fused.compiling import compiled
from pipeline.kernels.fused.floats import as_bits, quantise, widen

TILE = 2048

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
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_ONE, _ZERO = np.float32(1), np.float32(0)


@compiled
def load(address: int, code: int, first: int, compute: int, out_T: Any) -> None:
    """Stored elements from `first` on, in the compute type."""
    widen(address, code, first, out_T)
    quantise(out_T, compute)


@compiled
def scale(values_T: Any, factor: Any, compute: int) -> None:
    """Multiply in place and round; a factor of one changes nothing."""
    if factor != _ONE:
        for j in range(values_T.size):
            values_T[j] *= factor
        quantise(values_T, compute)


@compiled
def delta(expert: Any, base_T: Any, first: int, compute: int, out_T: Any) -> None:
    """Expert minus base, rounded."""
    load(expert.address, expert.code, first, compute, out_T)
    for j in range(out_T.size):
        out_T[j] -= base_T[j]
    quantise(out_T, compute)


@compiled
def draw(key: Any, start: int, bits_P: Any) -> None:
    """The hash of `kernels.keys` for every pair of entries from the pair that holds entry `start` on."""
    first = np.uint64(start // 2)
    for p in range(bits_P.size):
        z = key + (first + np.uint64(p)) * _GAMMA
        z = (z ^ (z >> _S30)) * _FIRST
        z = (z ^ (z >> _S27)) * _SECOND
        bits_P[p] = z ^ (z >> _S31)


@compiled
def survivors(expert: Any, start: int, bits_P: Any, keep_T: Any) -> None:
    """1.0 where the entry survives the random drop, 0.0 elsewhere; `start` counts within the tensor."""
    if not expert.drops:
        keep_T[:] = _ONE
        return
    draw(expert.key, start, bits_P)
    halves = bits_P.view(np.int32)
    odd, below = start % 2, expert.draw_below
    if below > np.int64(0x7FFFFFFF):
        keep_T[:] = _ONE
        return
    limit = np.int32(below)
    for j in range(keep_T.size):
        keep_T[j] = _ONE if halves[odd + j] < limit else _ZERO


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
        count += np.int32((as_bits(values_T[j]) & _ABSOLUTE) == pattern)
    return int(count)


@compiled
def trim(expert: Any, values_T: Any) -> None:
    """Zero what lies below the threshold; of the entries equal to it the first `expert.equal` stay."""
    pattern = expert.pattern
    count = count_equal(values_T, pattern)
    expert.seen += count
    left = expert.equal
    expert.equal = max(0, left - count)
    if 0 < left < count:
        for j in range(values_T.size):
            bits = as_bits(values_T[j]) & _ABSOLUTE
            stays = bits > pattern or (bits == pattern and left > 0)
            left -= bits == pattern
            values_T[j] *= _ONE if stays else _ZERO
        return
    least = pattern if left else pattern + np.uint32(1)
    for j in range(values_T.size):
        values_T[j] *= _ONE if (as_bits(values_T[j]) & _ABSOLUTE) >= least else _ZERO


@compiled
def sparse(expert: Any, base_T: Any, first: int, start: int, compute: int, room: Any, out_T: Any) -> None:
    """What is left of an expert's delta: dropped, trimmed, rescaled and weighted."""
    dropped(expert, base_T, first, start, compute, room, out_T)
    if expert.trims:
        trim(expert, out_T)
    scale(out_T, expert.factor, compute)
    scale(out_T, expert.weight, compute)
