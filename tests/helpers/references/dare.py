"""The first half of DARE (arXiv 2311.03099): drop at random and rescale, then maybe a magnitude trim.

The coin of every entry is the hash that `pipeline.kernels.keys` states in words, written here once
more in Python integers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tests.helpers.references import Array, Tensors, flatten
from tests.helpers.references.ties import match_l1, scopes, trim

_WORD = (1 << 64) - 1


def survives(seed: int, model: str, tensor: str, index: int, density: float) -> bool:
    """Whether an entry is kept."""
    key = hashlib.blake2b(f"{seed}\0{model}\0{tensor}".encode(), digest_size=8).digest()
    word = (int.from_bytes(key, "little") + (index // 2) * 0x9E3779B97F4A7C15) & _WORD
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & _WORD
    word ^= word >> 31
    half = (word >> 32 if index % 2 else word) & 0xFFFFFFFF
    # The halves are read as two's complement numbers, so the coin runs from the most negative one.
    coin = half ^ 0x80000000
    return coin < round(density * 2**32)


def sparsified(
    tensors: Tensors, knobs: Mapping[str, Any], models: Sequence[str]
) -> Iterator[tuple[Tensors, Array, list[Array]]]:
    """For every scope: its tensors, the flat base, and each expert's sparse delta."""
    for scope in scopes(tensors, knobs):
        base, experts = flatten(scope)
        places = [(name, i) for name, (_, thetas) in scope.items() for i in range(thetas.shape[1])]
        sparse = []
        for theta, model, density in zip(experts, models, knobs["density"], strict=True):
            tau = theta - base
            coins = [survives(knobs["seed"], model, name, i, density) for name, i in places]
            kept = tau if density >= 1 else np.where(coins, tau, 0.0)
            sparse.append(trim(_rescaled(tau, kept, density, knobs["rescale"]), knobs["trim_density"]))
        yield scope, base, sparse


def _rescaled(tau: Array, kept: Array, density: float, rescale: bool | str) -> Array:
    if density >= 1 or not rescale:
        return kept
    if rescale == "expectation":
        return kept / density if density > 0 else kept
    return match_l1(tau, kept)
