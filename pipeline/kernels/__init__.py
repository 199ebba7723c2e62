"""The few hot primitives under the merge methods, each in two forms that give the same bits.

`plain` is torch, for any device and compute type; `fused` is compiled loops over stored bytes, for the CPU.
Nothing here knows a method, a file or a plan.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

#: Compute types that the compiled loops know; float64 is torch's.
FUSED_COMPUTE = ("float32", "bfloat16", "float16")


@cache
def has_fused() -> bool:
    """Whether compiled loops can run here; without numba everything goes through torch."""
    return find_spec("numba") is not None
