"""What is known of merged elements that are NaN or infinite, and how it is said. It reads no weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import LIST_ITEM, RunError, shown

#: Types of a merge by what they can hold, the narrowest range first.
_BY_RANGE = ("float16", "bfloat16", "float32", "float64")
_MOST_LINES = 5


@dataclass(frozen=True)
class NonFinite:
    """Elements of one merged tensor that are NaN or infinite.

    count: how many there are.  model: the first input, base first, that has such elements itself; None where
    all inputs are finite.  overflowed: how many of them come from finite inputs, whose merge is beyond the
    range of `dtype`, the narrower of the types that the tensor is merged and stored in.
    """

    tensor: str
    count: int
    model: str | None
    overflowed: int
    dtype: str

    def wrong(self) -> Iterator[tuple[str, str]]:
        """Name each field that cannot be as it is, and what it must be."""
        if self.count < 1:
            yield "count", "at least 1"
        low, high = (0, self.count - 1) if self.model is not None else (self.count, self.count)
        if not low <= self.overflowed <= high:
            yield "overflowed", f"{low} to {high}, as {self.count} are counted and model is {self.model!r}"
        if self.dtype not in _BY_RANGE:
            yield "dtype", f"one of {', '.join(_BY_RANGE)}"

    def __str__(self) -> str:
        """What is said of the tensor, in one line."""
        be = "element is" if self.count == 1 else "elements are"
        overflow = f"finite inputs overflow {self.dtype}: give a wider type or smaller weights"
        if self.model is None:
            cause = f"; {overflow}"
        else:
            cause = f', first in model "{shown(self.model)}"'
            cause += f"; in {self.overflowed} of them {overflow}" if self.overflowed else ""
        return f'tensor "{shown(self.tensor)}": {self.count} {be} NaN or infinite{cause}'


def narrower(compute: str, stored: str) -> str:
    """Name the type of the two that overflows first."""
    return min(compute, stored, key=_BY_RANGE.index)


def in_lines(found: Sequence[NonFinite]) -> list[str]:
    """Say what is not finite in a line for each tensor, of the first five, and how many more there are."""
    lines = [str(one) for one in found[:_MOST_LINES]]
    more = found[_MOST_LINES:]
    if more:
        lines.append(
            f"and {len(more)} more tensor{'s' if len(more) > 1 else ''}, "
            f"{sum(one.count for one in more)} elements in all"
        )
    return lines


def require_finite(found: Mapping[Path, Sequence[NonFinite] | None]) -> None:
    """Raise RunError unless every element of every merged model is finite.

    Args:
        found: place of each model -> what is not finite in it; None where it was merged by a version that did
            not count.
    """
    broken = {place: some for place, some in found.items() if some is None or some}
    if not broken:
        return
    uncounted = "nobody counted: it was merged by an earlier version"
    lines = [
        f"{place}: {line}"
        for place, some in broken.items()
        for line in ([uncounted] if some is None else in_lines(some))
    ]
    counted = any(broken.values())
    raise RunError(
        "a merged model holds elements that are NaN or infinite"
        if counted
        else "it is not known whether every element of a merged model is finite",
        where=", ".join(str(place) for place in broken),
        expected="finite elements only, as --strict asks",
        found=LIST_ITEM.join(lines),
        hint="mend the inputs, the type or the weights; without --strict the same command publishes the model"
        if counted
        else "merge it again with --fresh",
    )
