"""How loops are compiled: once a machine, kept on disk, without the interpreter's lock, never with floats so
relaxed that a result could change.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from numba import njit

if "scipy.linalg" not in sys.modules:
    # numba looks here for BLAS, which no loop of ours calls: a quarter of a second for every process.
    sys.modules["scipy.linalg"] = None  # type: ignore[assignment]  # as Python has it: not to be found
    import numba.np.arraymath  # noqa: F401

    del sys.modules["scipy.linalg"]

Loop = TypeVar("Loop", bound=Callable[..., object])


def compiled(loop: Loop) -> Loop:
    """The loop as machine code. IEEE arithmetic as written: no contraction, no reordering of floats."""
    return _made(loop, fastmath=False)


def compiled_exact_sum(loop: Loop) -> Loop:
    """The same, but its sums of floats may be taken in any order, several at a time: only for loops in which
    no partial sum is ever rounded, so that every order gives the same.
    """
    return _made(loop, fastmath={"reassoc"})


def _made(loop: Loop, fastmath: bool | set[str]) -> Loop:
    try:
        made: Loop = njit(nogil=True, cache=True, fastmath=fastmath)(loop)
    except RuntimeError:  # nowhere to keep it: neither beside the source nor in a home directory
        made = njit(nogil=True, fastmath=fastmath)(loop)
    return made
