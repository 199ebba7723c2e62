"""Random masks without a generator: whether entry i survives is a hash of who asks and of i. No global RNG.

The draw of entry i in tensor t of model m under a seed is half i mod 2, low first, its top bit flipped, of

    mix(key + (i div 2) * GAMMA)  in 64-bit arithmetic,   key = blake2b-64(seed, m, t),

where `mix` is the finaliser of SplitMix64 (Steele, Lea, Flood 2014). It depends on nothing else: not on the
cut, the worker, the device, the order of the experts or what was drawn before.
"""

from __future__ import annotations

from hashlib import blake2b

GAMMA = 0x9E3779B97F4A7C15
#: (shift, factor) of the three steps of `mix`: x ^= x >> shift, then x *= factor.
STEPS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))


def stream_key(seed: int, model: str, tensor: str) -> int:
    """The 64-bit key of one model's draws in one tensor."""
    text = "\0".join((str(seed), model, tensor)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def draw_limit(density: float) -> int:
    """An entry survives when its 32-bit draw is below this: round(density * 2^32)."""
    return round(density * 2**32)
