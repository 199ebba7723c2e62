"""A block whose elements are stored bytes, merged straight into stored bytes. See `kernels.contract`.

Shape legend: E experts, S measured slots, N elements of the block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.contract import Block, Counts, Losses, Window
from pipeline.kernels.fused import counting, mixing
from pipeline.kernels.fused.floats import CODES
from pipeline.kernels.fused.sparse import EXPERT
from pipeline.kernels.keys import draw_limit
from pipeline.kernels.limbs import UNIT_EXPONENT
from pipeline.kernels.rounding import rounded

_ALL = 1 << 62
_F32_UNIT_EXPONENT = -149


@dataclass(frozen=True)
class Stored:
    """The bytes of the block's elements in one model, and the name of their type."""

    raw: NDArray[np.uint8]
    dtype: str


@dataclass(frozen=True)
class FusedBlock(Block):
    """base: None where the method ignores it. out: where merged elements go, in the type `stored`; measuring
    needs none.

    What merges returns `out`.
    """

    tensor: str
    start: int
    numel: int
    models: tuple[str, ...]
    compute: str
    base: Stored | None
    experts: tuple[Stored, ...]
    stored: str
    out: NDArray[np.uint8]
    #: (expert, threshold) -> entries equal to it, counted while they were trimmed, so that nobody counts them
    #: again.
    _seen: dict[tuple[int, int], int] = field(default_factory=dict, repr=False)

    def average(self, weights: Sequence[float], divisor: float) -> NDArray[np.uint8]:
        """See `Block`."""
        experts = self._weighted([Losses()] * len(self.experts), weights)
        mixing.average(experts, self.numel, _single(divisor), *self._types(), self.out)
        return self.out

    def weighted_sum(
        self, losses: Sequence[Losses], weights: Sequence[float], divisor: float, factor: float
    ) -> NDArray[np.uint8]:
        """See `Block`."""
        experts = self._weighted(losses, weights)
        scalars = _single(divisor), _single(factor)
        mixing.weighted_sum(self._base(), experts, self.numel, self.start, *scalars, *self._types(), self.out)
        self._note(range(len(experts)), experts)
        return self.out

    def elected_mean(
        self,
        losses: Sequence[Losses],
        weights: Sequence[float],
        *,
        normalize: bool,
        factor: float,
        zero_sign: int,
    ) -> NDArray[np.uint8]:
        """See `Block`."""
        experts = self._weighted(losses, weights)
        scalars = int(normalize), _single(factor), zero_sign
        mixing.elected_mean(self._base(), experts, self.numel, self.start, *scalars, *self._types(), self.out)
        self._note(range(len(experts)), experts)
        return self.out

    def elected_balance(self, losses: Sequence[Losses], weights: Sequence[float]) -> int:
        """See `Block`."""
        experts = self._weighted(losses, weights)
        return int(mixing.elected_balance(self._base(), experts, *self._where()))

    def coarse_digits(self, slots: Sequence[int], losses: Sequence[Losses], counts_SB: Counts) -> None:
        """See `Block`."""
        counting.coarse_digits(self._base(), self._experts(slots, losses), *self._where(), counts_SB)

    def window_digits(
        self, slots: Sequence[int], losses: Sequence[Losses], windows: Sequence[Window],
        counts: Counts, above_S: Counts,
    ) -> None:  # fmt: skip
        """See `Block`."""
        rows = np.zeros(len(windows), counting.WINDOW)
        edge = 0
        for number, window in enumerate(windows):
            rows[number] = (window.low, window.bins << window.shift, window.shift, edge)
            edge += window.bins
        experts = self._experts(slots, losses)
        counting.window_digits(self._base(), experts, *self._where(), rows, counts, above_S)

    def equals(
        self, slots: Sequence[int], losses: Sequence[Losses], patterns: Sequence[int | None]
    ) -> Counts:
        """See `Block`."""
        pairs = enumerate(zip(slots, patterns, strict=True))
        asked = [(number, slot, pattern) for number, (slot, pattern) in pairs if pattern is not None]
        counts = np.zeros(len(slots), np.int64)
        if not all((slot, pattern) in self._seen for _, slot, pattern in asked):
            experts = self._experts([slot for _, slot, _ in asked], losses)
            experts["pattern"] = [pattern for _, _, pattern in asked]
            found = np.zeros(len(asked), np.int64)
            counting.equals(self._base(), experts, *self._where(), found)
            self._seen.update(
                ((slot, pattern), int(n)) for (_, slot, pattern), n in zip(asked, found, strict=True)
            )
        for number, slot, pattern in asked:
            counts[number] = self._seen[slot, pattern]
        return counts

    def norms(self, slots: Sequence[int], losses: Sequence[Losses]) -> list[tuple[int, int]]:
        """See `Block`."""
        sums = np.zeros((len(slots), 2, counting.EXPONENTS), np.int64)
        experts = self._experts(slots, losses)
        counting.exponent_sums(self._base(), experts, *self._where(), sums)
        self._note(slots, experts)
        return [(_total(before), _total(after)) for before, after in sums]

    def _note(self, slots: Iterable[int], experts: NDArray[Any]) -> None:
        """Keep what the trims counted."""
        for expert, row in zip(slots, experts, strict=True):
            if row["trims"]:
                self._seen[expert, int(row["pattern"])] = int(row["seen"])

    def _types(self) -> tuple[int, int]:
        return CODES[self.compute], CODES[self.stored]

    def _where(self) -> tuple[int, int, int]:
        return self.numel, self.start, CODES[self.compute]

    def _base(self) -> Any:
        assert self.base is not None, "the planner gives a base to every method that requires one"
        row = np.zeros(1, EXPERT)
        row["address"], row["code"] = self.base.raw.ctypes.data, CODES[self.base.dtype]
        return row[0]

    def _weighted(self, losses: Sequence[Losses], weights: Sequence[float]) -> NDArray[Any]:
        rows = self._experts(range(len(self.experts)), losses)
        rows["weight"] = weights
        return rows

    def _experts(self, slots: Sequence[int], losses: Sequence[Losses]) -> NDArray[Any]:
        """The measured experts and their losses as the loops read them."""
        rows = np.zeros(len(slots), EXPERT)
        rows["weight"] = 1.0
        for row, slot in zip(rows, slots, strict=True):
            expert, loss = self.experts[slot], losses[slot]
            row["address"], row["code"], row["factor"] = (
                expert.raw.ctypes.data,
                CODES[expert.dtype],
                _single(loss.factor),
            )
            if loss.drop is not None:
                row["drops"], row["key"] = 1, loss.drop.key
                # Draws are compared as signed numbers, their top bit flipped.
                row["draw_below"] = draw_limit(loss.drop.density) - 2**31
            if loss.trim is not None:
                row["trims"], row["pattern"] = 1, loss.trim.pattern
                row["equal"] = _ALL if loss.trim.equal is None else loss.trim.equal
        return rows


def _single(value: float) -> np.float32:
    """A scalar in fp32, infinite where that cannot hold it, as torch takes it."""
    return np.float32(rounded(value, "float32"))


def _total(sums_X: NDArray[np.int64]) -> int:
    """The exact sum of fp32 numbers whose mantissas were added by exponent, in units of 2^-1074."""
    return sum(
        int(value) << (max(exponent - 1, 0) + _F32_UNIT_EXPONENT - UNIT_EXPONENT)
        for exponent, value in enumerate(sums_X)
        if value
    )
