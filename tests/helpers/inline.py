"""An executor that runs every unit here and now: no processes, so that tests can look inside."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from cluster.contract import Fault, Outcome, Unit


class InlineExecutor:
    """Runs units one after the other in this process; a unit that raises is a program fault."""

    name = "inline"
    workers = 1

    def __init__(self) -> None:
        self.ran: list[str] = []

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        """One outcome a unit, in order; the units run are remembered in `ran`."""
        for unit in units:
            self.ran.append(unit.id)
            try:
                value = unit.function(unit.payload)
            except Exception as error:  # noqa: BLE001 (what it catches is the outcome)
                fault = Fault("program", f"{type(error).__name__}: {error}", traceback.format_exc(), error)
                yield Outcome(unit.id, None, fault, 1, 0.0, "here")
            else:
                yield Outcome(unit.id, value, None, 1, 0.0, "here")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
