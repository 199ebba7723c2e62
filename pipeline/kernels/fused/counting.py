"""What the rounds measure, as integers: digits of magnitudes, equals of a threshold, sums by exponent.

Shape legend: S experts that are measured, N elements of a block, T of a tile. See `mixing` for `first` and
`start`.
"""

from __future__ import annotations

from math import ldexp
from typing import Any

import numpy as np

from pipeline.kernels.fused.compiling import compiled, compiled_exact_sum
from pipeline.kernels.fused.floats import as_bits, as_float
from pipeline.kernels.fused.mixing import make_room
from pipeline.kernels.fused.sparse import TILE, count_equal, delta, dropped, load, survivors, trim

_ABSOLUTE = np.uint32(0x7FFFFFFF)
_MANTISSA, _LEADING = np.uint32(0x7FFFFF), np.uint32(0x800000)
_EXPONENT = np.uint32(23)
_SIXTEEN = np.uint32(16)
_HALF = np.uint32(0x80000000)
_INFINITE = np.uint32(0x7F800000)
_ZERO = np.float32(0)
#: Binades whose sum over a tile fp64 holds exactly: 53 bits, less 24 of mantissa and the tile's length.
_SPAN = np.int64(53 - 24 - (TILE - 1).bit_length())
#: The last mantissa bit of an fp32 number with exponent field x is 2^(x - 150).
_UNIT_EXPONENT = 150
EXPONENTS = 255 + 32
#: A tile is looked through as so many rows at once.
_ROWS = 8

#: A window in plain numbers: patterns [low, low + width) in bins of 2^shift, counted from `edge` on.
WINDOW = np.dtype([("low", "u4"), ("width", "u4"), ("shift", "u4"), ("edge", "i8")])


@compiled
def coarse_digits(base: Any, experts: Any, numel: int, start: int, compute: int, counts_SB: Any) -> None:
    """Count the upper 16 bits of every magnitude."""
    room = make_room()
    for at in range(0, numel, TILE):
        count = min(TILE, numel - at)
        base_T, delta_T = room.base[:count], room.delta[:count]
        load(base.address, base.code, at, compute, base_T)
        for s in range(experts.size):
            dropped(experts[s], base_T, at, start + at, compute, room, delta_T)
            for j in range(count):
                counts_SB[s, (as_bits(delta_T[j]) & _ABSOLUTE) >> _SIXTEEN] += 1


@compiled
def window_digits(
    base: Any, experts: Any, numel: int, start: int, compute: int, windows_S: Any, counts: Any, above_S: Any
) -> None:
    """Count every bin of each expert's window, and how many patterns lie above it."""
    room = make_room()
    places, least = np.empty(TILE, np.uint32), np.empty(TILE // _ROWS, np.uint32)
    for at in range(0, numel, TILE):
        count = min(TILE, numel - at)
        base_T, delta_T, places_T = room.base[:count], room.delta[:count], places[:count]
        load(base.address, base.code, at, compute, base_T)
        for s in range(experts.size):
            window = windows_S[s]
            dropped(experts[s], base_T, at, start + at, compute, room, delta_T)
            above_S[s] += place_in(delta_T, window.low, window.width, places_T)
            table_B = counts[window.edge : window.edge + (np.int64(window.width) >> np.int64(window.shift))]
            count_within(places_T, window.width, window.shift, least, table_B)


@compiled
def place_in(values_T: Any, low: Any, width: Any, places_T: Any) -> int:
    """Where each magnitude's pattern lies from `low` on (modulo 2^32); returns how many lie beyond."""
    above = np.int32(0)
    for j in range(places_T.size):
        place = np.uint32((as_bits(values_T[j]) & _ABSOLUTE) - low)
        places_T[j] = place
        above = np.int32(above + ((place >= width) & (place < _HALF)))
    return int(above)


@compiled
def count_within(places_T: Any, width: Any, shift: Any, least_C: Any, table_B: Any) -> None:
    """Count the places below the width. Few are, so the least of each column of eight is looked at first."""
    columns = places_T.size // _ROWS
    for j in range(columns):
        least_C[j] = places_T[j]
    for row in range(1, _ROWS):
        row_C = places_T[row * columns : (row + 1) * columns]
        for j in range(columns):
            least_C[j] = min(least_C[j], row_C[j])
    for j in range(columns):
        if least_C[j] < width:
            for row in range(_ROWS):
                place = places_T[row * columns + j]
                if place < width:
                    table_B[place >> shift] += 1
    for j in range(_ROWS * columns, places_T.size):
        if places_T[j] < width:
            table_B[places_T[j] >> shift] += 1


@compiled
def equals(base: Any, experts: Any, numel: int, start: int, compute: int, counts_S: Any) -> None:
    """Count the magnitudes that have exactly the expert's threshold pattern."""
    room = make_room()
    for at in range(0, numel, TILE):
        count = min(TILE, numel - at)
        base_T, delta_T = room.base[:count], room.delta[:count]
        load(base.address, base.code, at, compute, base_T)
        for s in range(experts.size):
            dropped(experts[s], base_T, at, start + at, compute, room, delta_T)
            counts_S[s] += count_equal(delta_T, experts[s].pattern)


@compiled
def exponent_sums(base: Any, experts: Any, numel: int, start: int, compute: int, sums_S2X: Any) -> None:
    """Add every |delta|'s mantissa to the sums of exponents, that of all deltas and that of those that stay.

    Entry x of a sum counts units of the last mantissa bit of fp32 numbers with exponent x; X is 255 + 32 (see
    `carry`).
    """
    room = make_room()
    for at in range(0, numel, TILE):
        count = min(TILE, numel - at)
        base_T, delta_T, kept_T = room.base[:count], room.delta[:count], room.total[:count]
        load(base.address, base.code, at, compute, base_T)
        for s in range(experts.size):
            delta(experts[s], base_T, at, compute, delta_T)
            survivors(experts[s], start + at, room.bits, kept_T)
            if experts[s].trims:
                for j in range(count):
                    room.agreeing[j] = delta_T[j] * kept_T[j]
                trim(experts[s], room.agreeing[:count])
                for j in range(count):
                    kept_T[j] = np.float32(room.agreeing[j] != _ZERO)
            add_mantissas(delta_T, kept_T, sums_S2X[s])


@compiled
def add_mantissas(values_T: Any, kept_T: Any, sums_2X: Any) -> None:
    """Add a tile: magnitudes within `_SPAN` binades of the largest at once, the few below them one by one."""
    largest = np.uint32(0)
    for j in range(values_T.size):
        bits = np.uint32(as_bits(values_T[j]) & _ABSOLUTE)
        largest = max(largest, bits if bits < _INFINITE else np.uint32(0))
    lowest = max(np.int64(largest >> _EXPONENT) - _SPAN, np.int64(1))
    least = np.uint32(lowest << np.int64(_EXPONENT)) if lowest > 1 else np.uint32(0)
    before, after, rare = sums_from(values_T, kept_T, least)
    carry(np.int64(ldexp(before, int(_UNIT_EXPONENT - lowest))), lowest, sums_2X[0])
    carry(np.int64(ldexp(after, int(_UNIT_EXPONENT - lowest))), lowest, sums_2X[1])
    if rare:
        for j in range(values_T.size):
            bits = as_bits(values_T[j]) & _ABSOLUTE
            exponent = np.int64(max(bits >> _EXPONENT, np.uint32(1)))
            if exponent < lowest:
                mantissa = np.int64((bits & _MANTISSA) | (_LEADING if bits >= _LEADING else np.uint32(0)))
                sums_2X[0, exponent] += mantissa
                sums_2X[1, exponent] += mantissa if kept_T[j] != _ZERO else np.int64(0)


@compiled_exact_sum
def sums_from(values_T: Any, kept_T: Any, least: Any) -> Any:
    """Sums of the finite magnitudes from a bit pattern on, of all and of those kept; how many lie below it.

    Exact in fp64 where the largest is less than 2^(_SPAN + 1) times the least.
    """
    before, after, rare = np.float64(0), np.float64(0), np.int32(0)
    for j in range(values_T.size):
        bits = np.uint32(as_bits(values_T[j]) & _ABSOLUTE)
        value = as_float(bits if (bits >= least) & (bits < _INFINITE) else np.uint32(0))
        before += np.float64(value)
        after += np.float64(value * kept_T[j])
        rare = np.int32(rare + ((bits < least) & (bits > np.uint32(0))))
    return before, after, rare


@compiled
def carry(units: Any, exponent: Any, sums_X: Any) -> None:
    """Add a large integer in two halves, so that 2^31 of them do not overflow."""
    sums_X[exponent] += units & np.int64(0xFFFFFFFF)
    sums_X[exponent + 32] += units >> np.int64(32)
