"""Differences between two values of plain data, each with its path and both sides; and how they are said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pipeline.errors import shown
from pipeline.untrusted import canonical_json

_MOST_SAID = 12
_MOST_VALUE = 60
_Skip = Callable[[str], bool]


@dataclass(frozen=True)
class Difference:
    """One place where two values differ. `None` on a side: the value is not given there.

    path: keys joined by dots, positions in lists in brackets.
    """

    path: str
    reference: Any
    other: Any

    def __str__(self) -> str:
        return f"{shown(self.path)} {value_text(self.other)} instead of {value_text(self.reference)}"


def find_differences(
    reference: Any, other: Any, *, skip: _Skip = lambda key: False, path: str = ""
) -> Iterator[Difference]:
    """Yield the places where two values of plain data differ, in the order of the reference.

    A key that is missing equals one whose value is null; 1 equals 1.0. Lists of one length are compared item
    by item, others as a whole.

    Args:
        skip: whether a key of a mapping, at any depth, does not count.
    """
    if isinstance(reference, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys((*reference, *other)):
            name = str(key)
            if not skip(name):
                below = f"{path}.{name}" if path else name
                yield from find_differences(reference.get(key), other.get(key), skip=skip, path=below)
    elif isinstance(reference, list) and isinstance(other, list) and len(reference) == len(other):
        for place, (one, another) in enumerate(zip(reference, other, strict=True)):
            yield from find_differences(one, another, skip=skip, path=f"{path}[{place}]")
    elif not _same(reference, other):
        yield Difference(path, reference, other)


def say(differences: Iterator[Difference] | Sequence[Difference]) -> str:
    """Say the first differences, joined by semicolons, and that there are more. "" where there are none."""
    found = list(islice(differences, _MOST_SAID + 1))
    said = [str(difference) for difference in found[:_MOST_SAID]]
    return "; ".join([*said, "and more"] if len(found) > _MOST_SAID else said)


def value_text(value: Any) -> str:
    """Write a value fit for a line of text: JSON, clipped; a long list by its length."""
    if value is None:
        return "none given"
    if isinstance(value, list) and len(canonical_json(value)) > _MOST_VALUE:
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return f'"{shown(value, _MOST_VALUE)}"'
    return shown(repr(value) if isinstance(value, float) else canonical_json(value), _MOST_VALUE)


def _same(reference: Any, other: Any) -> bool:
    """Whether two values are equal; not-a-number equals itself, true is not 1."""
    if isinstance(reference, bool) is not isinstance(other, bool):
        return False
    return bool(reference == other) or canonical_json(reference) == canonical_json(other)
