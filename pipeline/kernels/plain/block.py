"""A block whose elements are torch tensors in the compute type, on any device. See `kernels.contract`.

Shape legend: E experts, S measured slots, N elements of the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pipeline.kernels.contract import DIGIT_BITS, FIRST_BINS, Block, Counts, Losses, Trim, Window
from pipeline.kernels.plain.bits import indices_between, magnitude_bits_
from pipeline.kernels.plain.deltas import accumulator_dtype, canonical_nan_, divide_, scale_
from pipeline.kernels.plain.draws import Draws
from pipeline.kernels.plain.exact_sum import norms_


@dataclass(frozen=True)
class PlainBlock(Block):
    """base_N: None where the method ignores the base. experts_EN: one row an expert. What merges returns
    shape (N,).
    """

    tensor: str
    start: int
    models: tuple[str, ...]
    base_N: Tensor | None
    experts_EN: Tensor

    @property
    def numel(self) -> int:  # type: ignore[override]  # read-only here
        """N."""
        return self.experts_EN.shape[1]

    @property
    def compute(self) -> str:  # type: ignore[override]  # read-only here
        """Name of the tensors' type."""
        return str(self.experts_EN.dtype).removeprefix("torch.")

    def average(self, weights: Sequence[float], divisor: float) -> Tensor:
        """See `Block`."""
        total_N = self._zeros()
        work_N = torch.empty_like(total_N)
        for expert_N, weight in zip(self.experts_EN, weights, strict=True):
            total_N.add_(work_N.copy_(expert_N).mul_(weight))
        return canonical_nan_(divide_(total_N, divisor).to(self.experts_EN.dtype))

    def weighted_sum(
        self, losses: Sequence[Losses], weights: Sequence[float], divisor: float, factor: float
    ) -> Tensor:
        """See `Block`."""
        delta_N = self._empty()
        total_N = self._zeros()
        for expert, weight in enumerate(weights):
            total_N.add_(scale_(self._sparse(expert, losses[expert], delta_N), weight))
        return self._add_to_base(divide_(total_N.to(delta_N.dtype), divisor), factor)

    def elected_mean(
        self,
        losses: Sequence[Losses],
        weights: Sequence[float],
        *,
        normalize: bool,
        factor: float,
        zero_sign: int,
    ) -> Tensor:
        """See `Block`."""
        deltas_EN = torch.empty_like(self.experts_EN)
        total_N = self._total(losses, weights, deltas_EN)
        sign_N = (total_N.ge_(0) if zero_sign > 0 else total_N.gt_(0)).mul_(2).sub_(1)
        agreeing_N, divisor_N = self._zeros(), self._zeros()
        for along_N, weight in zip(deltas_EN, weights, strict=True):
            # Along the elected direction every agreeing delta is positive; flipping a sign never rounds.
            along_N.mul_(sign_N).clamp_(min=0)
            agreeing_N.add_(along_N)
            if normalize:
                divisor_N.add_(scale_(along_N.sign_(), weight))
        mixed_N = agreeing_N.to(sign_N.dtype).mul_(sign_N)
        if normalize:
            rounded_N = divisor_N.to(sign_N.dtype)
            mixed_N.div_(rounded_N.add_(rounded_N.clone().eq_(0)))
        return self._add_to_base(mixed_N, factor)

    def elected_balance(self, losses: Sequence[Losses], weights: Sequence[float]) -> int:
        """See `Block`."""
        # The summands are not needed again: every row is the same memory.
        total_N = self._total(losses, weights, self._empty().expand_as(self.experts_EN))
        return int((total_N > 0).sum() - (total_N < 0).sum())

    def coarse_digits(self, slots: Sequence[int], losses: Sequence[Losses], counts_SB: Counts) -> None:
        """See `Block`."""
        for counts_B, slot in zip(counts_SB, slots, strict=True):
            bits_N = self._magnitudes(slot, losses[slot])
            bits_N.bitwise_right_shift_(8 * bits_N.element_size() - DIGIT_BITS)
            counts_B += torch.bincount(bits_N, minlength=FIRST_BINS).cpu().numpy()

    def window_digits(
        self, slots: Sequence[int], losses: Sequence[Losses], windows: Sequence[Window],
        counts: Counts, above_S: Counts,
    ) -> None:  # fmt: skip
        """See `Block`."""
        start = 0
        for number, (slot, window) in enumerate(zip(slots, windows, strict=True)):
            bits_N = self._magnitudes(slot, losses[slot])
            high = window.low + (window.bins << window.shift)
            # One below, as the end of the whole range would not fit the integer type.
            above_S[number] += int((bits_N > high - 1).sum())
            within = bits_N[indices_between(bits_N, window.low, high)].sub_(window.low)
            table = torch.bincount(within.bitwise_right_shift_(window.shift), minlength=window.bins)
            counts[start : start + window.bins] += table.cpu().numpy()
            start += window.bins

    def equals(
        self, slots: Sequence[int], losses: Sequence[Losses], patterns: Sequence[int | None]
    ) -> Counts:
        """See `Block`."""
        counts = [
            0 if pattern is None else int((self._magnitudes(slot, losses[slot]) == pattern).sum())
            for slot, pattern in zip(slots, patterns, strict=True)
        ]
        return np.array(counts, np.int64)

    def norms(self, slots: Sequence[int], losses: Sequence[Losses]) -> list[tuple[int, int]]:
        """See `Block`."""
        found = []
        for slot in slots:
            delta_N, loss = self._delta(slot, self._empty()), losses[slot]
            kept_N = torch.ones_like(delta_N)
            if loss.drop is not None:
                kept_N.mul_(self._survivors(loss))
            if loss.trim is not None:
                kept_N.mul_(_kept(delta_N * kept_N, loss.trim))
            found.append(norms_(delta_N, kept_N))
        return found

    def _empty(self) -> Tensor:
        return torch.empty_like(self.experts_EN[0])

    def _zeros(self) -> Tensor:
        return torch.zeros_like(self.experts_EN[0], dtype=accumulator_dtype(self.experts_EN.dtype))

    def _delta(self, expert: int, out_N: Tensor) -> Tensor:
        """Expert minus base, rounded to the compute type."""
        assert self.base_N is not None, "the planner gives a base to every method that requires one"
        return torch.sub(self.experts_EN[expert], self.base_N, out=out_N)

    @cached_property
    def _draws(self) -> Draws:
        """Counters that every expert's draws begin from."""
        return Draws(self.start, self.numel, self.experts_EN.device)

    def _survivors(self, loss: Losses) -> Tensor:
        """1 where the random drop leaves the entry: int32, valid until the next call."""
        assert loss.drop is not None
        return self._draws.keep(loss.drop.key, loss.drop.density)

    def _dropped(self, expert: int, loss: Losses, out_N: Tensor) -> Tensor:
        """The delta, dropped entries at zero."""
        self._delta(expert, out_N)
        return out_N if loss.drop is None else out_N.mul_(self._survivors(loss))

    def _magnitudes(self, expert: int, loss: Losses) -> Tensor:
        return magnitude_bits_(self._dropped(expert, loss, self._empty()))

    def _sparse(self, expert: int, loss: Losses, out_N: Tensor) -> Tensor:
        """The delta after all of its losses, what is left rescaled."""
        self._dropped(expert, loss, out_N)
        if loss.trim is not None:
            out_N.mul_(_kept(out_N.clone(), loss.trim))
        return scale_(out_N, loss.factor)

    def _total(self, losses: Sequence[Losses], weights: Sequence[float], deltas_EN: Tensor) -> Tensor:
        """sum_e w_e delta_e in the compute type; the summands are left in `deltas_EN`."""
        total_N = self._zeros()
        for expert, weight in enumerate(weights):
            total_N.add_(scale_(self._sparse(expert, losses[expert], deltas_EN[expert]), weight))
        return total_N.to(deltas_EN.dtype)

    def _add_to_base(self, mixed_N: Tensor, factor: float) -> Tensor:
        assert self.base_N is not None
        return canonical_nan_(scale_(mixed_N, factor).add_(self.base_N))


def _kept(values_N: Tensor, trim: Trim) -> Tensor:
    """1 where the trim leaves the entry, 0 elsewhere, in the type of the values, whose memory is used up."""
    dtype = values_N.dtype
    bits_N = magnitude_bits_(values_N)
    if trim.equal is None:
        return bits_N.ge(trim.pattern).to(dtype)
    kept_N = bits_N.gt(trim.pattern).to(dtype)
    if trim.equal:
        kept_N[indices_between(bits_N, trim.pattern, trim.pattern + 1)[: trim.equal]] = 1
    return kept_N
