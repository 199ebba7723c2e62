"""The actors of one executor: what each holds in memory, which takes the next unit, when one must go.

Ray-free, like dispatch.py: it reaches actors through `Port` alone. An actor occupies what its units need for
as long as it lives, idle or not; therefore idle ones are ended as soon as others want that room. It never
ends an actor that runs a unit, unless told to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.contract import Resources, Unit
from cluster.placing import Job, Ready, place
from cluster.port import Port


@dataclass(eq=False)
class Seat:
    """One actor. `affinity` is the last one that it took."""

    actor: Any
    needs: Resources
    affinity: str


class Seats:
    """At most `most` actors at a time; they outlive a run, so that the next one finds what they hold."""

    def __init__(self, port: Port, most: int) -> None:
        self._port, self._most = port, most
        self._busy: list[Seat] = []
        self.idle: list[Seat] = []  # longest idle first

    def next(self, ready: Ready, tasks: Sequence[Resources]) -> Job | None:
        """What begins next by the placement rule; nothing has begun yet, and `take` may have no seat for it.

        tasks: needs of all attempts under way without a seat, empty when all have begun. Those that have not
        are older than what is ready: an idle seat with nothing left of its own affinity makes room for them.
        """
        choice = self._place(ready)
        own = {seat.affinity for seat in self.idle}
        if tasks and (choice is None or choice.unit.affinity not in own) and self._make_room(tasks):
            choice = self._place(ready)
        return choice

    def take(self, unit: Unit) -> Seat | None:
        """The seat for a unit with an affinity, busy from now on; None when it must wait for one.

        An idle seat is taken if it fits: better one that holds the affinity than another. Else one is hired,
        in the place of idle ones if need be.
        """
        fitting = [seat for seat in self.idle if seat.needs == unit.resources]
        seat = next((seat for seat in fitting if seat.affinity == unit.affinity), next(iter(fitting), None))
        if seat is not None:
            self.idle.remove(seat)
        else:
            while not self._has_room(unit.resources):
                if not self.idle:
                    return None
                self.end(self.idle[0], force=True)
            seat = Seat(self._port.hire(unit.resources), unit.resources, unit.affinity)
        seat.affinity = unit.affinity
        self._busy.append(seat)
        return seat

    def leave(self, seat: Seat) -> None:
        """Its unit has ended: the seat is idle."""
        self._busy.remove(seat)
        self.idle.append(seat)

    def end(self, seat: Seat, *, force: bool) -> None:
        """End a seat and forget it: at once with `force`, else after what it runs."""
        (self.idle if seat in self.idle else self._busy).remove(seat)
        self._port.dismiss(seat.actor, force=force)

    def end_idle(self) -> None:
        """End all that run nothing."""
        for seat in list(self.idle):
            self.end(seat, force=True)

    def end_all(self) -> None:
        """End all at once, whatever they run."""
        for seat in [*self.idle, *self._busy]:
            self.end(seat, force=True)

    def forget(self) -> None:
        """Forget all without a word to those who would end them: nobody is there to hear it."""
        self.idle.clear()
        self._busy.clear()

    def _place(self, ready: Ready) -> Job | None:
        held = {seat.affinity for seat in (*self.idle, *self._busy)}
        choice = place(ready, [seat.affinity for seat in self.idle] or [""], held)
        return None if choice is None else choice[1]

    def _has_room(self, needs: Resources) -> bool:
        """Whether another actor may be hired. The first always may: if it fits nowhere, dispatch says so."""
        taken = [seat.needs for seat in (*self.idle, *self._busy)]
        return not taken or (len(taken) < self._most and self._port.holds([*taken, needs]))

    def _make_room(self, tasks: Sequence[Resources]) -> bool:
        """End idle seats, longest idle first, until the tasks fit beside the rest; whether any was ended."""
        before = len(self.idle)
        while self.idle:
            taken = [seat.needs for seat in (*self.idle, *self._busy)]
            if self._port.holds([*taken, *tasks]):
                break
            self.end(self.idle[0], force=True)
        return len(self.idle) < before
