"""The draws of `kernels.keys` for a run of entries, in torch.

Shape legend: N elements of one block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.kernels.keys import GAMMA, STEPS, draw_limit


def _signed(value: int) -> int:
    """A 64-bit pattern as torch's signed int64 holds it."""
    return value - (1 << 64) if value >> 63 else value


class Draws:
    """The draws of entries [start, start + count) of one tensor, for any number of keys."""

    def __init__(self, start: int, count: int, device: torch.device) -> None:
        first, last = start // 2, (start + count + 1) // 2
        self._counter = torch.arange(first, last, dtype=torch.int64, device=device).mul_(_signed(GAMMA))
        self._bits = torch.empty_like(self._counter)
        self._scratch = torch.empty_like(self._counter)
        self._window = slice(start - 2 * first, start - 2 * first + count)

    def keep(self, key: int, density: float) -> Tensor:
        """An int32 tensor, shape (N,): 1 where the entry survives, 0 elsewhere. Valid until the next call."""
        torch.add(self._counter, _signed(key), out=self._bits)
        for shift, factor in STEPS:
            torch.bitwise_right_shift(self._bits, shift, out=self._scratch)
            # torch shifts the sign in; a hash wants zeros
            self._scratch.bitwise_and_((1 << (64 - shift)) - 1)
            self._bits.bitwise_xor_(self._scratch)
            if factor != 1:
                self._bits.mul_(_signed(factor))
        draws_N = self._bits.view(torch.int32)[self._window]
        limit = draw_limit(density)
        # The draw is the int32 plus 2^31, so that a signed comparison orders draws as unsigned numbers.
        return draws_N.fill_(1) if limit >= 2**32 else draws_N.lt_(limit - 2**31)
