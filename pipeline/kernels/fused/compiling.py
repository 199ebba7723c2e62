"""How loops are compiled: once a machine, kept on disk, without the interpreter's lock, never with relaxed
floats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from numba import njit

Loop = TypeVar("Loop", bound=Callable[..., object])


def compiled(loop: Loop) -> Loop:
    """The loop as machine code. IEEE arithmetic as written: no contraction, no reordering of floats."""
    try:
        made: Loop = njit(nogil=True, cache=True)(loop)
    except RuntimeError:  # nowhere to keep it: neither beside the source nor in a home directory
        made = njit(nogil=True)(loop)
    return made
