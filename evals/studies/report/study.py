"""The axes of a study in reading order, and its cells by their place. It computes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from evals.studies.tables.values import Estimate, Kind, Role, Subject, Summary, Tables

T = TypeVar("T")


@dataclass(frozen=True)
class Base:
    """A base and where it stands. parameters: how many it has."""

    name: str
    size: str
    quality: str
    parameters: int


class Study:
    """Tables with their axes: bases by quality and size, counts rising.

    qualities, methods: their order; those not named come after, as they are met.
    """

    def __init__(self, tables: Tables, qualities: Iterable[str] = (), methods: Iterable[str] = ()) -> None:
        self.tables = tables
        subjects = [cell.subject for cell in tables.summaries] + [one.subject for one in tables.scores]
        self.qualities = _ordered(qualities, (one.quality for one in subjects))
        named = {one.base: _base(one) for one in reversed(subjects)}
        self.bases = tuple(
            sorted(
                named.values(),
                key=lambda base: (self.qualities.index(base.quality), base.parameters, base.name),
            )
        )
        self.methods = _ordered(methods, (one.method for one in subjects if one.kind == "merge"))
        self.counts = tuple(sorted({one.count for one in subjects if one.kind == "merge"}))
        self.roles = _met(one.role for one in tables.summaries)
        self._cells = {_place(one): one for one in tables.summaries}
        self._positions = {id(one): at for at, one in enumerate(tables.summaries, start=1)}

    @property
    def sizes(self) -> dict[str, int]:
        """Size -> parameters of its first base, rising; without bases of which no model could be had."""
        found: dict[str, int] = {}
        for base in sorted(self.bases, key=lambda base: base.parameters):
            if base.parameters:
                found.setdefault(base.size, base.parameters)
        return found

    def of(self, quality: str) -> tuple[Base, ...]:
        """The bases of a quality that have a size, small to large."""
        return tuple(base for base in self.bases if base.quality == quality and base.parameters)

    def cell(self, role: Role, base: str, kind: Kind, method: str, count: int) -> Summary | None:
        """The summary of a merge, base or multitask model, None where nothing was asked for."""
        return self._cells.get((role, base, kind, method, count))

    def position(self, cell: Summary) -> int:
        """Where a cell stands among all, from 1: its number wherever it is shown."""
        return self._positions[id(cell)]

    def ratio(self, role: Role, base: str, method: str, count: int) -> Estimate | None:
        """The ratio of a merge, None where it is missing."""
        found = self.cell(role, base, "merge", method, count)
        return found.ratio if found else None

    def beside(self, kind: Kind, role: Role, base: str, count: int) -> Estimate | None:
        """The ratio of base or multitask model on what merges of so many experts are measured on."""
        found = self.cell(role, base, kind, "", count) or self.cell(role, base, kind, "", 0)
        return found.ratio if found else None


def _place(cell: Summary) -> tuple[Role, str, Kind, str, int]:
    one = cell.subject
    return cell.role, one.base, one.kind, one.method, one.count


def _base(subject: Subject) -> Base:
    return Base(subject.base, subject.size, subject.quality, subject.parameters)


def _met(values: Iterable[T]) -> tuple[T, ...]:
    """Each value once, in the order they come."""
    return tuple(dict.fromkeys(values))


def _ordered(first: Iterable[str], values: Iterable[str]) -> tuple[str, ...]:
    """Each value once: those named first in that order, then the others as they come."""
    there = _met(values)
    return _met((*(value for value in first if value in there), *there))
