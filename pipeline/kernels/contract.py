"""What a method can ask of a block of elements: the primitives, and what each expert loses first. No
arithmetic here.

Shape legend: E experts, S of them measured ("slots"), N elements of one block (a run of consecutive elements
of one tensor, row-major), B bins.

Sums over experts run in expert order and are kept in fp32 (fp64 for fp64), then rounded to the compute type;
deltas, weights and products are rounded to the compute type one by one. Every operation is element-wise and
correctly rounded, never a fused multiply-add, so that a result cannot depend on where a tensor was cut.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

#: Bits of a pattern that one round of counting tells apart.
DIGIT_BITS = 16
#: Values of the first digit: the sign is not part of a magnitude.
FIRST_BINS = 1 << (DIGIT_BITS - 1)


@dataclass(frozen=True)
class Drop:
    """A random drop: an entry stays when its draw (see `keys`) is below the density. A dropped NaN or Inf is
    NaN.
    """

    key: int
    density: float


@dataclass(frozen=True)
class Trim:
    """A trim by magnitude: what lies above the bit pattern stays, and of the entries equal to it the first
    `equal` of this block (None: all of them).
    """

    pattern: int
    equal: int | None


@dataclass(frozen=True)
class Losses:
    """What one expert's delta loses before it is weighted, in this order, and the factor on what is left."""

    drop: Drop | None = None
    trim: Trim | None = None
    factor: float = 1.0


@dataclass(frozen=True)
class Window:
    """Bit patterns [low, low + (bins << shift)), in bins of 2^shift patterns."""

    low: int
    shift: int
    bins: int


class Block(ABC):
    """Consecutive elements of one tensor in all models; inputs are never written to.

    tensor: the name that random draws are made under, the tensor's own but for one that stays equal to
    another.  start: its first element's index in the tensor.  numel: N.  models: a stable
    identity of each expert (the reference as written), the key of its randomness. compute: name of the type
    that arithmetic is rounded to. What merges returns the merged elements in the block's own form; `losses`
    and `weights` have one entry an expert.
    """

    tensor: str
    start: int
    numel: int
    models: tuple[str, ...]
    compute: str

    @abstractmethod
    def average(self, weights: Sequence[float], divisor: float) -> Any:
        """sum_e w_e x_e / divisor, rounded once."""

    @abstractmethod
    def weighted_sum(
        self, losses: Sequence[Losses], weights: Sequence[float], divisor: float, factor: float
    ) -> Any:
        """base + factor * (sum_e w_e delta_e) / divisor."""

    @abstractmethod
    def elected_mean(
        self,
        losses: Sequence[Losses],
        weights: Sequence[float],
        *,
        normalize: bool,
        factor: float,
        zero_sign: int,
    ) -> Any:
        """base + factor * the sum of the weighted deltas that have the sign of the sum of all of them.

        With `normalize` that sum is divided by the sum of the weights that agree, or by 1 where it is zero. A
        sum of exactly zero has the sign `zero_sign`; a NaN sum elects the negative side, and its entry is NaN
        in the end.
        """

    @abstractmethod
    def elected_balance(self, losses: Sequence[Losses], weights: Sequence[float]) -> int:
        """Elements whose weighted sum is positive, minus those where it is negative."""

    @abstractmethod
    def coarse_digits(self, slots: Sequence[int], losses: Sequence[Losses], counts_SB: Counts) -> None:
        """Add to `counts_SB`, shape (S, FIRST_BINS), how often each value of the upper 16 bits of |delta|'s
        pattern occurs.

        Patterns are those of fp32 (fp16 and bf16 are widened to it), or of fp64 where that is the compute
        type. Finite numbers come first, then Inf, then NaN.
        """

    @abstractmethod
    def window_digits(
        self, slots: Sequence[int], losses: Sequence[Losses], windows: Sequence[Window],
        counts: Counts, above_S: Counts,
    ) -> None:  # fmt: skip
        """Add to `counts` how often each bin of each slot's window occurs, window after window, and to
        `above_S` how many patterns lie above it. An expert may be looked at through several windows.
        """

    @abstractmethod
    def equals(
        self, slots: Sequence[int], losses: Sequence[Losses], patterns: Sequence[int | None]
    ) -> Counts:
        """How many magnitudes have exactly the slot's pattern, shape (S,); 0 for a slot without one."""

    @abstractmethod
    def norms(self, slots: Sequence[int], losses: Sequence[Losses]) -> list[tuple[int, int]]:
        """Exact sums of |delta| before and after the losses (the factor apart), in units of 2^-1074, without
        NaN and Inf.
        """
