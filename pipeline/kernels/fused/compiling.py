"""How loops are compiled: once a machine, kept on disk, without the interpreter's lock, never with floats so
relaxed that a result could change.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numba
import xxhash
from numba import njit

if "scipy.linalg" not in sys.modules:
    # numba looks here for BLAS, which no loop of ours calls: a quarter of a second for every process.
    sys.modules["scipy.linalg"] = None  # type: ignore[assignment]  # as Python has it: not to be found
    try:
        import numba.np.arraymath
    finally:
        del sys.modules["scipy.linalg"]

_HERE = Path(__file__).parent
#: What machine code is made of. Loops take in others from other files, which numba's cache does not notice.
_SOURCES = (*sorted(_HERE.glob("*.py")), *sorted(_HERE.parent.glob("*.py")))

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
    given, numba.config.CACHE_DIR = numba.config.CACHE_DIR, _KEPT_IN
    try:
        made: Loop = njit(nogil=True, cache=bool(_KEPT_IN), fastmath=fastmath)(loop)
    finally:
        numba.config.CACHE_DIR = given
    _forgive(getattr(made, "_cache", None))
    return made


def _forgive(cache: Any) -> None:
    """Have machine code made anew where what is kept of it is damaged, as a full disk leaves it.

    numba lets out what unpickling raises, for every process and for good. Damaged files are replaced; where
    they cannot be, the loop is compiled in every process.
    """
    if cache is None or not hasattr(cache, "load_overload"):
        return
    load, save = cache.load_overload, cache.save_overload

    def load_overload(*given: Any) -> Any:
        try:
            return load(*given)
        except Exception:  # noqa: BLE001 -- unpickling raises anything
            with suppress(Exception):
                cache.flush()
            return None

    def save_overload(*given: Any) -> None:
        with suppress(Exception):
            save(*given)

    cache.load_overload, cache.save_overload = load_overload, save_overload


def _kept_in() -> str:
    """Where machine code of just these sources is kept: where $NUMBA_CACHE_DIR says, beside the sources, or
    in the home directory; "" where nothing can be written.
    """
    version = xxhash.xxh3_64_hexdigest(b"".join(source.read_bytes() for source in _SOURCES))
    named = str(numba.config.CACHE_DIR or "")
    for name in [named] if named else [str(_HERE / "__pycache__"), "~/.cache/mergescale"]:
        try:
            place = Path(name).expanduser()
            (place / f"loops-{version}").mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError):  # not ours to write, or nobody's home
            continue
        if os.access(place / f"loops-{version}", os.W_OK):
            return str(place / f"loops-{version}")
    return ""


_KEPT_IN = _kept_in()
