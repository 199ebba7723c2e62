"""Keep exactly the k largest magnitudes, found exactly and without sorting. Never needs more than one block.

Shape legend: S trimmed experts ("slots": the experts whose density is below one), B bins.

Magnitudes are ordered by their bit patterns, which for finite numbers is the order of |x|; Inf comes above
them and NaN above Inf. Three steps find the k-th largest pattern:

    sample    counts of the upper 16 bits over a share of the entries: where the threshold lies, give or
              take four standard errors
    near      exact counts of the patterns in that window, and of all above it, over all entries
    digits    where the window missed, or was too wide: exact counts, 16 bits a round, from the highest down

The guess decides how much is read, never what comes out. Entries equal to the threshold are kept lowest index
first, which needs the number of them in earlier blocks: a scan round, read off the counts of `near` where the
engine kept them. Zeros never count as kept: where fewer than k entries are not zero, all of those are kept.

What is known lives in a small state (plain ints and lists), one number a slot:
    wide     whether patterns have 63 bits (fp64) or 31 (fp32; fp16 and bf16 are widened to it)
    near     the window that `near` counts, None for a slot that needs no counting
    low      the threshold lies in [low, low + 2^shift); with a shift of zero it is `low`
    shift    see there
    wanted   how many entries to keep among those in that range; all above it are kept
    found    how many such entries there are, -1 while nobody knows
    nearing  whether `near` has yet to run
    scanned  whether equal entries in earlier blocks have been counted
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.contract import DIGIT_BITS, FIRST_BINS, Block, Losses, Trim, Window
from pipeline.methods.contract import Partial, Round, Scope, add

State = dict[str, Any]
_PREFIX = "magnitudes."
SAMPLE = Round(f"{_PREFIX}sample", sample=True)
NEAR = Round(f"{_PREFIX}near", keep=True)
TIES = Round("ties", scan=True)
_STANDARD_ERRORS = 4.0
#: Bins of a window: as many patterns as eight of the sample's bins hold in fp32.
_MOST_BINS = 8 << DIGIT_BITS


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
        return SAMPLE
    if open_slots := _open(state):
        widest = max(state["shift"][slot] for slot in open_slots)
        return NEAR if state["nearing"] else Round(f"{_PREFIX}{widest}")
    return TIES if _has_cut(state) and not state["scanned"] else None


def passes(density_E: Sequence[float]) -> int:
    """Rounds over every entry where the guess holds: `near`, from which ties are read off."""
    return 1 if slots(density_E) else 0


def owns(round_: Round) -> bool:
    """Whether the round is one of this selection's."""
    return round_ == TIES or round_.name.startswith(_PREFIX)


def measure(
    round_: Round, block: Block, losses: Sequence[Losses], density_E: Sequence[float], state: State | None,
    partial: Partial,
) -> None:  # fmt: skip
    """Add the block's counts for a round to `partial`. `losses` are what comes before this trim."""
    experts = slots(density_E)
    if state is None:
        if SAMPLE.name not in partial:
            partial[SAMPLE.name] = np.zeros((len(experts), FIRST_BINS), np.int64)
        block.coarse_digits(experts, losses, partial[SAMPLE.name])
        add(partial, "wide", np.array(int(block.compute == "float64"), np.int64))
    elif round_ == TIES:
        patterns = [low if _is_cut(state, slot) else None for slot, low in enumerate(state["low"])]
        add(partial, TIES.name, block.equals(experts, losses, patterns))
    else:
        windows = _windows(state)
        for name, size in ((round_.name, _edges(windows)[-1]), ("above", len(experts))):
            if name not in partial:
                partial[name] = np.zeros(size, np.int64)
        block.window_digits(experts, losses, windows, partial[round_.name], partial["above"])


def settle(
    round_: Round, folded: Partial, density_E: Sequence[float], state: State | None, scope: Scope
) -> State:
    """The state after a round, given the sum of all blocks' counts."""
    if state is None:
        return _guess(folded, density_E, scope)
    if round_ == TIES:
        return {**state, "scanned": True}
    windows, counts = _windows(state), folded[round_.name]
    edges = _edges(windows)
    found = [
        _settle_slot(state, slot, window, counts[edges[slot] : edges[slot + 1]], int(folded["above"][slot]))
        for slot, window in enumerate(windows)
    ]
    low, shift, wanted, count = (list(column) for column in zip(*found, strict=True))
    return {**state, "low": low, "shift": shift, "wanted": wanted, "found": count, "nearing": False}


def recall(kept: Partial, state: State) -> Partial | None:
    """One piece's counts for `ties`, read off what it counted for `near`; None where they are not there."""
    windows = state["near"]
    if state["nearing"] or NEAR.name not in kept:
        return None
    counts = np.zeros(len(windows), np.int64)
    for slot, (window, edge) in enumerate(zip(windows, _edges(windows), strict=False)):
        if not _is_cut(state, slot):
            continue
        place = state["low"][slot] - window.low
        if window.shift or not 0 <= place < window.bins:
            return None
        counts[slot] = kept[NEAR.name][edge + place]
    return {TIES.name: counts}


def trim(state: State, slot: int, before: Partial) -> Trim | None:
    """What the selection keeps of a slot's delta in the block that `before` precedes; None where it keeps
    all.
    """
    pattern, wanted = state["low"][slot], state["wanted"][slot]
    if pattern == 0:
        return None
    if wanted == state["found"][slot] and wanted:
        return Trim(pattern, None)
    earlier = int(before[TIES.name][slot]) if TIES.name in before else 0
    return Trim(pattern, max(0, wanted - earlier))


def _guess(folded: Partial, density_E: Sequence[float], scope: Scope) -> State:
    """The state after the sample: a window for every slot that keeps something."""
    wide = bool(folded["wide"])
    bits = 63 if wide else 31
    experts = slots(density_E)
    wanted = [min(kept_count(density_E[expert], scope.numel), scope.numel) for expert in experts]
    return {
        "wide": wide,
        "near": [
            _window(counts_B, count, scope.numel, bits - DIGIT_BITS + 1) if count else None
            for counts_B, count in zip(folded[SAMPLE.name], wanted, strict=True)
        ],
        # A density of zero: the threshold lies above everything.
        "low": [0 if count else (1 << bits) - 1 for count in wanted],
        "shift": [bits if count else 0 for count in wanted],
        "wanted": wanted,
        "found": [-1 if count else 0 for count in wanted],
        "nearing": True,
        "scanned": False,
    }


def _window(counts_B: NDArray[np.int64], wanted: int, numel: int, shift: int) -> Window:
    """Where the wanted-th largest of `numel` patterns should lie, from a sample's counts of 2^shift patterns
    each.
    """
    size = int(counts_B.sum())
    share = wanted / numel
    error = _STANDARD_ERRORS * math.sqrt(size * share * (1 - share)) + 2 if size < numel else 0.0
    at_least = counts_B[::-1].cumsum()
    ranks = np.clip([share * size - error, share * size + error], 1, size)
    highest, lowest = (len(counts_B) - 1 - int(place) for place in np.searchsorted(at_least, np.ceil(ranks)))
    bins = highest - lowest + 1
    finer = min(shift, int(math.log2(_MOST_BINS // bins))) if bins < _MOST_BINS else 0
    return Window(lowest << shift, shift - finer, bins << finer)


def _windows(state: State) -> list[Window | None]:
    """What the next round of counting counts for each slot."""
    if state["nearing"]:
        return list(state["near"])
    found: list[Window | None] = [None] * len(state["low"])
    for slot in _open(state):
        digit = min(DIGIT_BITS, state["shift"][slot])
        found[slot] = Window(state["low"][slot], state["shift"][slot] - digit, 1 << digit)
    return found


def _edges(windows: Sequence[Window | None]) -> list[int]:
    """Where each window's counts begin when they lie one after the other, and where the last ends."""
    sizes = [window.bins if window else 0 for window in windows]
    return [0, *(int(edge) for edge in np.cumsum(sizes))]


def _settle_slot(
    state: State, slot: int, window: Window | None, counts_B: NDArray[np.int64], above: int
) -> tuple[int, int, int, int]:
    """(low, shift, wanted, found) of one slot, from the counts of its window's bins."""
    known = (state["low"][slot], state["shift"][slot], state["wanted"][slot], state["found"][slot])
    if window is None:
        return known
    # Once a range is known, what lies above it is kept and no longer wanted.
    wanted = known[2] - (above if state["nearing"] else 0)
    at_least = counts_B[::-1].cumsum()
    if not 0 < wanted <= at_least[-1]:  # the guess missed: the digits start from nothing
        return known
    place = int(np.searchsorted(at_least, wanted))
    digit = len(counts_B) - 1 - place
    here = int(counts_B[digit])
    low = window.low + (digit << window.shift)
    if low == 0 and window.shift == 0:  # fewer than k entries are not zero: all of them are kept
        return 0, 0, 0, 0
    return low, window.shift, wanted - int(at_least[place]) + here, here


def _open(state: State) -> list[int]:
    """Slots whose threshold matters and is not known yet."""
    slots_ = range(len(state["low"]))
    return [s for s in slots_ if state["shift"][s] and state["wanted"][s] not in (0, state["found"][s])]


def _is_cut(state: State, slot: int) -> bool:
    """Whether only a part of the slot's entries equal to the threshold is kept."""
    return bool(0 < state["wanted"][slot] < state["found"][slot])


def _has_cut(state: State) -> bool:
    return any(_is_cut(state, slot) for slot in range(len(state["low"])))
