"""Keep exactly the k largest magnitudes, found exactly and without sorting. Never needs more than one block.

Shape legend: S trimmed experts ("slots": the experts whose density is below one), B bins.

Magnitudes are ordered by their bit patterns, which for finite numbers is the order of |x|; Inf comes above
them and NaN above Inf. These steps find the k-th largest pattern:

    sample    counts of the upper 16 bits over a share of the entries: where the threshold lies, give or
              take four standard errors, and more where the sample is large and a window has room for it
    near      exact counts of the patterns in that window, and of all above it, over all entries
    again     the same where the window missed, on the side where the threshold must lie, or was too coarse
    digits    where that too was not enough: exact counts, 16 bits a round, from the highest down

The guess decides how much is read, never what comes out. Entries equal to the threshold are kept lowest index
first, which needs the number of them in earlier blocks: a scan round, read off the counts of the last look
where the engine kept them. Zeros never count as kept: where fewer than k entries are not zero, all of those
are kept.

What is known lives in a small state (plain ints and lists), one number a slot:
    wide     whether patterns have 63 bits (fp64) or 31 (fp32; fp16 and bf16 are widened to it)
    near     (slot, window) for each window that is counted in a look
    low      the threshold lies in [low, low + 2^shift); with a shift of zero it is `low`
    shift    see there
    wanted   how many entries to keep among those in that range; all above it are kept
    found    how many such entries there are, -1 while nobody knows
    nearing  whether a look has yet to run
    second   whether that is `again`
    scanned  whether equal entries in earlier blocks have been counted
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.contract import DIGIT_BITS, FIRST_BINS, Block, Losses, Trim, Window
from pipeline.methods.contract import Partial, Round, Scope, add
from pipeline.methods.parts import windows

State = dict[str, Any]
_PREFIX = "magnitudes."
SAMPLE = Round(f"{_PREFIX}sample", sample=True)
NEAR, AGAIN = Round(f"{_PREFIX}near", keep=True), Round(f"{_PREFIX}again", keep=True)
TIES = Round("ties", scan=True)
#: What is known of each slot.
_KNOWN = ("low", "shift", "wanted", "found")


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
        return _looks(state) if state["nearing"] else Round(f"{_PREFIX}{widest}")
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
        asked = _windows(state)
        for name, size in ((round_.name, _edges(asked)[-1]), ("above", len(asked))):
            if name not in partial:
                partial[name] = np.zeros(size, np.int64)
        places, looked_at = [experts[slot] for slot, _ in asked], [window for _, window in asked]
        block.window_digits(places, losses, looked_at, partial[round_.name], partial["above"])


def settle(
    round_: Round, folded: Partial, density_E: Sequence[float], state: State | None, scope: Scope
) -> State:
    """The state after a round, given the sum of all blocks' counts."""
    if state is None:
        return _guess(folded, density_E, scope)
    if round_ == TIES:
        return {**state, "scanned": True}
    found = {**state, **{name: list(state[name]) for name in _KNOWN}, "nearing": False}
    beside: dict[int, list[Window]] = {}
    asked = _windows(state)
    edges = _edges(asked)
    for number, (slot, window) in enumerate(asked):
        if slot not in _open(state):
            continue
        counts_B, above = folded[round_.name][edges[number] : edges[number + 1]], int(folded["above"][number])
        place = _place(state, slot, window, counts_B, above)
        if place is None:
            beside[slot] = windows.beside(window, above=state["wanted"][slot] <= above, bits=_bits(state))
        else:
            for name, value in zip(_KNOWN, place, strict=True):
                found[name][slot] = value
    if round_ == NEAR and _open(found):
        found |= {"nearing": True, "second": True, "near": _again(found, beside)}
    return found


def recall(kept: Partial, state: State) -> Partial | None:
    """One piece's counts for `ties`, read off what it counted for `near`; None where they are not there."""
    asked, counted = state["near"], kept.get(_looks(state).name)
    if state["nearing"] or counted is None:
        return None
    counts, told = np.zeros(len(state["low"]), np.int64), set()
    for (slot, window), edge in zip(asked, _edges(asked), strict=False):
        place = state["low"][slot] - window.low
        if _is_cut(state, slot) and not window.shift and 0 <= place < window.bins:
            counts[slot] = counted[edge + place]
            told.add(slot)
    cut = {slot for slot in range(len(counts)) if _is_cut(state, slot)}
    return {TIES.name: counts} if told == cut else None


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
    """The state after the sample: windows for every slot that keeps something."""
    wide = bool(folded["wide"])
    bits = _bits({"wide": wide})
    experts = slots(density_E)
    wanted = [min(kept_count(density_E[expert], scope.numel), scope.numel) for expert in experts]
    return {
        "wide": wide,
        "near": [
            (slot, windows.near(counts_B, count, scope.numel, bits - DIGIT_BITS + 1))
            for slot, (counts_B, count) in enumerate(zip(folded[SAMPLE.name], wanted, strict=True))
            if count
        ],
        # A density of zero: the threshold lies above everything.
        "low": [0 if count else (1 << bits) - 1 for count in wanted],
        "shift": [bits if count else 0 for count in wanted],
        "wanted": wanted,
        "found": [-1 if count else 0 for count in wanted],
        "nearing": True,
        "second": False,
        "scanned": False,
    }


def _looks(state: State) -> Round:
    """The round that counts near where thresholds should lie: the first or the second."""
    return AGAIN if state["second"] else NEAR


def _again(state: State, beside: Mapping[int, Sequence[Window]]) -> list[tuple[int, Window]]:
    """What a second look counts: for a slot whose window missed what lies beside it; for one that is known
    coarsely its range; for one that cuts equals just those, so that ties are read off this look alone.
    """
    asked: list[tuple[int, Window]] = []
    for slot, (low, shift) in enumerate(zip(state["low"], state["shift"], strict=True)):
        if slot in beside:
            asked += [(slot, window) for window in beside[slot]]
        elif slot in _open(state):
            digit = min(windows.MOST_BINS.bit_length() - 1, shift)
            asked.append((slot, Window(low, shift - digit, 1 << digit)))
        elif _is_cut(state, slot):
            asked.append((slot, Window(low, 0, 1)))
    return asked


def _windows(state: State) -> list[tuple[int, Window]]:
    """What the next round of counting counts: slots and windows."""
    if state["nearing"]:
        return list(state["near"])
    digits = [(slot, min(DIGIT_BITS, state["shift"][slot])) for slot in _open(state)]
    return [
        (slot, Window(state["low"][slot], state["shift"][slot] - digit, 1 << digit)) for slot, digit in digits
    ]


def _edges(asked: Sequence[tuple[int, Window]]) -> list[int]:
    """Where each window's counts begin when they lie one after the other, and where the last ends."""
    return [0, *(int(edge) for edge in np.cumsum([window.bins for _, window in asked]))]


def _place(
    state: State, slot: int, window: Window, counts_B: NDArray[np.int64], above: int
) -> tuple[int, int, int, int] | None:
    """(low, shift, wanted, found) of one slot from the counts of a window's bins; None where it lies
    elsewhere.
    """
    # Once a range is known, what lies above it is kept and no longer wanted.
    wanted = state["wanted"][slot] - (above if state["shift"][slot] == _bits(state) else 0)
    at_least = counts_B[::-1].cumsum()
    if not 0 < wanted <= at_least[-1]:
        return None
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


def _bits(state: State) -> int:
    """Bits of a pattern, and the shift of a slot of which nothing is known."""
    return 63 if state["wide"] else 31


def _is_cut(state: State, slot: int) -> bool:
    """Whether only a part of the slot's entries equal to the threshold is kept."""
    return bool(0 < state["wanted"][slot] < state["found"][slot])


def _has_cut(state: State) -> bool:
    return any(_is_cut(state, slot) for slot in range(len(state["low"])))
