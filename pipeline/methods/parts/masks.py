"""Random masks without a generator: whether entry i survives is a hash of who asks and of i. No global RNG.

Shape legend: N elements of one block.

The draw of entry i in tensor t of model m under a seed is half i mod 2, low first, its top bit flipped, of

    mix(key + (i div 2) * GAMMA)  in 64-bit arithmetic,   key = blake2b-64(seed, m, t),

where `mix` is the finaliser of SplitMix64 (Steele, Lea, Flood 2014). It depends on nothing else: not on the
cut, the worker, the device, the order of the experts or what was drawn before.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def _signed(value: int) -> int:
    """A 64-bit pattern as torch's signed int64 holds it."""
    return value - (1 << 64) if value >> 63 else value


GAMMA = _signed(0x9E3779B97F4A7C15)
_STEPS = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)), (31, None))


def stream_key(seed: int, model: str, tensor: str) -> int:
    """The 64-bit key of one model's draws in one tensor, as a signed integer."""
    text = "\0".join((str(seed), model, tensor)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little", signed=True)


class Draws:
    """The draws of entries [start, start + count) of one tensor, for any number of keys."""

    def __init__(self, start: int, count: int, device: torch.device) -> None:
        import torch

        first, last = start // 2, (start + count + 1) // 2
        self._counter = torch.arange(first, last, dtype=torch.int64, device=device).mul_(GAMMA)
        self._bits = torch.empty_like(self._counter)
        self._scratch = torch.empty_like(self._counter)
        self._window = slice(start - 2 * first, start - 2 * first + count)

    def keep(self, key: int, density: float) -> Tensor:
        """An int32 tensor, shape (N,): 1 where the entry survives, 0 elsewhere. Valid until the next call.

        An entry survives when its 32-bit draw is below round(density * 2^32).
        """
        import torch

        torch.add(self._counter, key, out=self._bits)
        for shift, factor in _STEPS:
            torch.bitwise_right_shift(self._bits, shift, out=self._scratch)
            self._scratch.bitwise_and_(
                (1 << (64 - shift)) - 1
            )  # torch shifts the sign in; a hash wants zeros
            self._bits.bitwise_xor_(self._scratch)
            if factor is not None:
                self._bits.mul_(factor)
        draws_N = self._bits.view(torch.int32)[self._window]
        limit = round(density * 2**32)
        # The draw is the int32 plus 2^31, so that a signed comparison orders draws as unsigned numbers.
        return draws_N.fill_(1) if limit >= 2**32 else draws_N.lt_(limit - 2**31)
