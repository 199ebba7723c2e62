"""Keep exactly the k largest magnitudes, found exactly and without sorting. Never needs more than one block.

Shape legend: N elements of one block, S trimmed experts ("slots": the experts whose density is below one).

Magnitudes are ordered by their bit patterns, which for finite numbers is the order of |x|; Inf comes above
them and NaN above Inf. A pattern is read in digits of 16 bits, highest first: each round counts one digit
among the entries that agree with the digits known so far, until the k-th largest pattern is known or does not
matter any more. Entries equal to it are kept lowest index first, which needs one scan round to count them in
earlier blocks. Zeros never count as kept: where fewer than k entries are not zero, all of those are kept.

What is known lives in a small state (plain ints and lists), one number a slot:
    digits   how many digits of a pattern there are: 2 for fp32 (fp16 and bf16 are widened to it), 4 for fp64
    known    how many of them the rounds have settled
    pattern  the threshold, unknown digits zero
    wanted   how many entries to keep among those that agree with the pattern so far; all above it are kept
    found    how many such entries there are
    scanned  whether equal entries in earlier blocks have been counted
    broken   whether there is an Inf or NaN
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.methods.contract import Partial, Round, Scope
from pipeline.methods.parts.bits import indices_between, magnitude_bits_, pattern_value

if TYPE_CHECKING:
    from torch import Tensor

State = dict[str, Any]
_DIGIT = 16
_BINS = 1 << _DIGIT
_PREFIX = "magnitudes."
FIRST = Round(f"{_PREFIX}0")
TIES = Round("ties", scan=True)


def slots(density_E: Sequence[float]) -> list[int]:
    """The experts that lose entries, in expert order."""
    return [expert for expert, density in enumerate(density_E) if density < 1]


def kept_count(density: float, numel: int) -> int:
    """How many of `numel` entries a density keeps: at least one, unless it is zero."""
    return max(1, int(density * numel)) if density > 0 else 0


def next_round(density_E: Sequence[float], state: State | None) -> Round | None:
    """The round that the selection still needs, or None."""
    if not slots(density_E):
        return None
    if state is None:
        return FIRST
    if not all(_resolved(state, slot) for slot in range(len(state["pattern"]))):
        return Round(f"{_PREFIX}{state['known']}")
    return TIES if _has_cut(state) and not state["scanned"] else None


def owns(round_: Round) -> bool:
    """Whether the round is one of this selection's."""
    return round_ == TIES or round_.name.startswith(_PREFIX)


def measure(
    round_: Round, delta_of: Callable[[int], Tensor], density_E: Sequence[float], state: State | None
) -> Partial:
    """The block's counts for a round. `delta_of(expert)` is its delta, shape (N,); its memory is used up."""
    import torch

    if round_ == TIES:
        assert state is not None
        pairs = zip(slots(density_E), state["pattern"], strict=True)
        counts = [_count_equal(delta_of(expert), pattern) for expert, pattern in pairs]
        return {TIES.name: np.array(counts, np.int64)}
    if state is None:
        return _measure_first(delta_of, density_E)
    agreeing = [_next_digits(delta_of(e), state, slot) for slot, e in enumerate(slots(density_E))]
    # Few numbers and many bins: one table is filled at once instead of many that are copied together.
    shifted = torch.cat([digits.long() + slot * _BINS for slot, digits in enumerate(agreeing)])
    table = torch.bincount(shifted, minlength=_BINS * len(agreeing)).view(-1, _BINS)
    return {round_.name: table.cpu().numpy()}


def settle(
    round_: Round, folded: Partial, density_E: Sequence[float], state: State | None, scope: Scope
) -> State:
    """The state after a round, given the sum of all blocks' counts."""
    if round_ == TIES:
        assert state is not None
        return {**state, "scanned": True}
    counts = folded[round_.name]
    if state is None:
        wanted = [kept_count(density_E[expert], scope.numel) for expert in slots(density_E)]
        zeros = [0] * len(wanted)
        state = {"digits": 4 if folded["wide"] else 2, "known": 0, "pattern": zeros, "wanted": wanted}
        state |= {"found": [-1] * len(wanted), "scanned": False}
        state["broken"] = [bool(row[0x7FF0 if folded["wide"] else 0x7F80 :].any()) for row in counts]
        coarse = not folded["fine"]
    else:
        coarse = False
    found = [_settle_digit(state, slot, counts[slot], coarse) for slot in range(len(counts))]
    # A bfloat16 has no bits below the first digit, so the digits that are left are known to be zero.
    known = state["digits"] if coarse else state["known"] + 1
    pattern, wanted, count = (list(column) for column in zip(*found, strict=True))
    return {**state, "known": known, "pattern": pattern, "wanted": wanted, "found": count}


def keep_(delta_N: Tensor, state: State, slot: int, before: Partial, out_N: Tensor) -> Tensor:
    """Write 1.0 to `out_N` (the delta's dtype) where the entry is kept and 0.0 elsewhere, and return it.

    A NaN gets 0.0; multiplied by it, it stays the NaN that it is.
    """
    import torch

    pattern = state["pattern"][slot]
    threshold = pattern_value(pattern, 2 * state["digits"])
    equals = _equals_kept(delta_N, state, slot, before, out_N)
    torch.abs(delta_N, out=out_N)
    if equals == math.inf:
        return out_N.ge_(threshold)
    out_N.gt_(threshold)
    if equals:
        places = indices_between(magnitude_bits_(delta_N.clone()), pattern, pattern + 1)
        out_N[places[: int(equals)]] = 1.0
    return out_N


def trim_(delta_N: Tensor, state: State, slot: int, before: Partial, scratch_N: Tensor) -> Tensor:
    """Set what is not kept to zero, in place, and return the delta; `scratch_N` has its dtype and shape."""
    import torch

    pattern, wanted = state["pattern"][slot], state["wanted"][slot]
    if pattern == 0:
        return delta_N
    # One pass instead of three. Not for NaNs: some releases of torch lose them where they vectorise.
    if delta_N.dtype in (torch.float32, torch.float64) and not state["broken"][slot] and wanted:
        equals = _equals_kept(delta_N, state, slot, before, scratch_N)
        if equals in (0, math.inf):
            above = pattern - 1 if equals else pattern
            return torch.hardshrink(delta_N, pattern_value(above, 2 * state["digits"]), out=delta_N)
    return delta_N.mul_(keep_(delta_N, state, slot, before, scratch_N))


def _equals_kept(delta_N: Tensor, state: State, slot: int, before: Partial, scratch_N: Tensor) -> float:
    """How many entries of this block that equal the threshold are kept; infinity for all of them."""
    import torch

    wanted, found = state["wanted"][slot], state["found"][slot]
    if wanted == found:
        return math.inf
    left = wanted - int(before[TIES.name][slot])
    if left <= 0:
        return 0
    threshold = pattern_value(state["pattern"][slot], 2 * state["digits"])
    ones_N = torch.abs(delta_N, out=scratch_N).eq_(threshold)
    # Ones are counted, which fp32 does without rounding up to 2^24.
    count = ones_N.sum(dtype=torch.float32 if ones_N.numel() <= 1 << 24 else torch.float64)
    return math.inf if int(count) <= left else left


def _resolved(state: State, slot: int) -> bool:
    """Nothing is left to learn where all agreeing entries stay, none do, or every digit is known."""
    wanted = state["wanted"][slot]
    return wanted in (0, state["found"][slot]) or state["known"] == state["digits"]


def _has_cut(state: State) -> bool:
    """Whether somewhere only a part of the entries equal to the threshold is kept."""
    pairs = zip(state["wanted"], state["found"], strict=True)
    return any(0 < wanted < found for wanted, found in pairs)


def _settle_digit(state: State, slot: int, counts: NDArray[np.int64], coarse: bool) -> tuple[int, int, int]:
    """(pattern, wanted, found) with one more digit known, from how often each value of the digit occurs."""
    pattern, wanted = state["pattern"][slot], state["wanted"][slot]
    if state["known"] and _resolved(state, slot):
        return pattern, wanted, state["found"][slot]
    shift = _DIGIT * (state["digits"] - 1 - state["known"])
    if wanted == 0:  # a density of zero: the threshold lies above everything
        return (1 << (shift + _DIGIT - 1)) - 1, 0, 0
    at_least = counts[::-1].cumsum()
    place = int(np.searchsorted(at_least, wanted))
    digit = len(counts) - 1 - place
    if digit < 0 or (coarse and digit == 0):  # fewer than k entries are not zero: all of them are kept
        return 0, 0, 0
    here = int(counts[digit])
    return pattern | digit << shift, wanted - int(at_least[place]) + here, here


def _measure_first(delta_of: Callable[[int], Tensor], density_E: Sequence[float]) -> Partial:
    """Counts of the first digit, and how many entries have bits below it (`fine`), or are fp64 (`wide`)."""
    import torch

    rows = []
    fine = wide = 0
    for expert in slots(density_E):
        delta_N = delta_of(expert)
        fine += delta_N.numel() if delta_N.dtype != torch.bfloat16 else 0
        wide += delta_N.numel() if delta_N.dtype == torch.float64 else 0
        bits_N = magnitude_bits_(delta_N)
        bits_N.bitwise_right_shift_(8 * bits_N.element_size() - _DIGIT)
        rows.append(torch.bincount(bits_N, minlength=_BINS // 2).cpu().numpy())
    return {FIRST.name: np.stack(rows), "fine": np.array(fine), "wide": np.array(wide)}


def _next_digits(delta_N: Tensor, state: State, slot: int) -> Tensor:
    """The next digit of the entries that agree with the known ones."""
    bits_N = magnitude_bits_(delta_N)
    if _resolved(state, slot):
        return bits_N[:0]
    shift, low = _DIGIT * (state["digits"] - 1 - state["known"]), state["pattern"][slot]
    # Zeros are never wanted, and may be many.
    agreeing = indices_between(bits_N, max(low, 1), low + (1 << (shift + _DIGIT)))
    return bits_N[agreeing].sub_(low).bitwise_right_shift_(shift)


def _count_equal(delta_N: Tensor, pattern: int) -> int:
    import torch

    equal_N = magnitude_bits_(delta_N).eq_(pattern)
    return int(equal_N.sum(dtype=torch.int32 if equal_N.element_size() == 4 else torch.int64))
