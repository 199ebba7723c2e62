"""Runs units through a port to other machines: a bounded window, deadlines, first answer wins.

It is the part of the Ray executor that is not Ray: which attempt to submit, when a slow one gets company,
what to do when nothing can run any more. Units without affinity are tasks, queued a few ahead; units with one
go to actors (seats.py), one at a time: 6 ms lie between two, less than what a unit queued at the wrong actor
costs. It reaches machines through `Port` alone, so its rules are tested with a clock that the test turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from cluster.agenda import Agenda
from cluster.attempt import Result, lost
from cluster.contract import ClusterError, Outcome, Resources, Unit
from cluster.placing import Job, Ready
from cluster.port import Begun, Port
from cluster.retry import Policy
from cluster.seats import Seat, Seats

POLL_S = 1.0  # how long one wait may last, and so how late a deadline may be noticed
HOME_CHECK_S = 10.0  # how often it is checked that what waits can still run somewhere
LANDING_S = 60.0  # how long a closed run waits for units whose duration nobody knows
PATIENCE_S = 10.0  # how long an attempt may wait to begin before every idle actor makes room for it


@dataclass(eq=False)
class Flight:
    """One submitted attempt, on a seat or (None) as a task. `late` once it has had its time; beginning gives
    it new time.
    """

    job: Job
    handle: Any
    since_s: float
    seat: Seat | None = None
    begun: bool = False
    late: bool = False
    worker: str = ""


class Dispatch:
    """One run of units through a port. At most `window` attempts are submitted at a time, company aside."""

    def __init__(
        self,
        port: Port,
        seats: Seats,
        policy: Policy,
        window: int,
        home_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._port, self._seats, self._policy = port, seats, policy
        self._window, self._home_wait_s = window, home_wait_s
        self._clock, self._sleep = clock, sleep
        self._flights: dict[Any, Flight] = {}
        self._housed: set[Resources] = set()
        self._homeless_since_s: float | None = None
        self._checked_s = self._looked_s = clock()
        self.busy = False

    def run(self, agenda: Agenda) -> Generator[Outcome, None, None]:
        """One outcome a unit, as they finish. Closing cancels what has not begun and waits for what has."""
        self.busy = True
        try:
            while True:
                self._require_control()
                self._fill(agenda)
                pause_s = agenda.pause_s(self._clock())
                if not self._flights:
                    if pause_s is None:
                        return
                    self._sleep(pause_s)
                    continue
                full = len(self._flights) >= self._window
                timeout_s = POLL_S if pause_s is None or full else min(POLL_S, pause_s)
                for handle in self._port.wait(list(self._flights), timeout_s):
                    yield from self._hear(agenda, handle)
                yield from self._look_after_the_late(agenda)
                self._look_for_homes()
        except (KeyboardInterrupt, SystemExit):
            self.abandon()
            raise
        finally:
            try:
                self._land()
            finally:
                self.busy = False

    def _require_control(self) -> None:
        """ClusterError once the control process is gone; Ray would be silent for minutes and then abort."""
        if self._port.has_ended():
            self._flights.clear()
            self._seats.forget()
            raise ClusterError(
                "Ray's control process (GCS) has ended while units ran",
                "look whether the machine ran out of memory; the same command continues",
            )

    def abandon(self) -> None:
        """Kill what runs and every actor, forget everything, wait for nothing."""
        for flight in self._flights.values():
            if flight.seat is None:
                self._port.cancel(flight.handle, force=True)
        self._flights.clear()
        self._seats.end_all()

    def _fill(self, agenda: Agenda) -> None:
        now = self._clock()
        while len(self._flights) < self._window:
            found = self._next(agenda.ready(now))
            if found is None:
                return
            agenda.begin(found[0])
            self._submit(*found)

    def _next(self, ready: Ready) -> tuple[Job, Seat | None] | None:
        """What begins next, and its seat; what has no affinity need not wait when no seat is to be had."""
        job = self._seats.next(ready, self._tasks() if self._seats.idle else [])
        if job is not None and job.unit.affinity:
            self._require_home(job.unit)
            seat = self._seats.take(job.unit)
            if seat is not None:
                return job, seat
            job = ready.first("")
        if job is None:
            return None
        self._require_home(job.unit)
        return job, None

    def _tasks(self) -> list[Resources]:
        """Needs of all attempts that have no seat, if some have not begun."""
        tasks = [flight for flight in self._flights.values() if flight.seat is None]
        return [] if all(flight.begun for flight in tasks) else [task.job.unit.resources for task in tasks]

    def _submit(self, job: Job, seat: Seat | None = None) -> None:
        handle = self._port.submit(job.unit, None if seat is None else seat.actor)
        self._flights[handle] = Flight(job, handle, self._clock(), seat)

    def _hear(self, agenda: Agenda, handle: Any) -> Generator[Outcome, None, None]:
        flight = self._flights.get(handle)
        if flight is None:  # its unit was settled by another attempt a moment ago
            return
        news = self._port.news(handle)
        if isinstance(news, Begun):
            flight.begun, flight.late = True, False
            flight.since_s, flight.worker = self._clock(), news.worker
            return
        self._ended(flight, news)
        outcome = agenda.end(flight.job, self._described(flight, news), self._clock())
        if outcome is not None:
            self._dismiss_others(flight.job)
            yield outcome

    def _ended(self, flight: Flight, result: Result) -> None:
        """An attempt has ended: its seat is free, or gone with its worker."""
        del self._flights[flight.handle]
        if flight.seat is not None and result.worker:
            self._seats.leave(flight.seat)
        elif flight.seat is not None:
            self._seats.end(flight.seat, force=True)

    def _drop(self, flight: Flight) -> None:
        """Nobody waits for an attempt any more: unqueued if it waits. One that runs is left alone: it writes
        the same bytes, and interrupting it gains nothing but half a write.
        """
        del self._flights[flight.handle]
        if flight.seat is not None:
            self._seats.end(flight.seat, force=not flight.begun)
        elif not flight.begun:
            self._port.cancel(flight.handle, force=False)

    def _described(self, flight: Flight, result: Result) -> Result:
        """A lost attempt cannot say where it ran and how long: we do."""
        if result.worker:
            return result
        return Result(result.value, result.fault, self._clock() - flight.since_s, flight.worker)

    def _dismiss_others(self, job: Job) -> None:
        """Drop the other attempts of a settled unit."""
        for flight in [flight for flight in self._flights.values() if flight.job is job]:
            self._drop(flight)

    def _look_after_the_late(self, agenda: Agenda) -> Generator[Outcome, None, None]:
        """Give company to units all of whose attempts are late; give up those that may have no more.

        Time spent in the queue never gives a unit up: a busy cluster is not a broken one. Company needs no
        seat: what it would load is not worth waiting for one.
        """
        now = self._clock()
        if now - self._looked_s < POLL_S:
            return
        self._looked_s = now
        if any(not flight.begun and now - flight.since_s > PATIENCE_S for flight in self._flights.values()):
            self._seats.end_idle()
        groups: dict[int, list[Flight]] = {}
        for flight in self._flights.values():
            flight.late = flight.late or self._is_late(flight, now)
            groups.setdefault(id(flight.job), []).append(flight)
        for flights in groups.values():
            job = flights[0].job
            if not all(flight.late for flight in flights):
                continue
            if job.attempts < self._policy.max_attempts:
                agenda.add_attempt(job)
                self._submit(job)
            elif all(flight.begun for flight in flights):
                yield self._given_up(agenda, job, flights, now)

    def _is_late(self, flight: Flight, now: float) -> bool:
        """Whether an attempt has had its time.

        One that has not begun is late only if the cluster has room for it: its order or the news is lost.
        """
        deadline_s = self._policy.deadline_s(flight.job.unit.expected_s)
        if deadline_s is None or now - flight.since_s <= deadline_s:
            return False
        return flight.begun or self._port.has_room(flight.job.unit.resources)

    def _given_up(self, agenda: Agenda, job: Job, flights: list[Flight], now: float) -> Outcome:
        deadline_s = self._policy.deadline_s(job.unit.expected_s)
        where = ", ".join(flight.worker for flight in flights)
        waited_s = now - min(flight.since_s for flight in flights)
        result = lost(f"no answer from {where} within {deadline_s:.0f} s", waited_s, flights[-1].worker)
        outcome = agenda.settle(job, result)
        self._dismiss_others(job)
        return outcome

    def _require_home(self, unit: Unit) -> None:
        """ClusterError at once for a unit that no machine could run; patience if one could before."""
        needs = unit.resources
        if needs in self._housed:
            return
        if not self._port.holds([needs]):
            raise self._too_small(f'unit "{unit.id}"', needs)
        self._housed.add(needs)

    def _look_for_homes(self) -> None:
        """Ray keeps tasks that fit nowhere waiting for ever. Wait a while for a lost machine to come back."""
        now = self._clock()
        if now - self._checked_s < HOME_CHECK_S:
            return
        self._checked_s = now
        waiting = {flight.job.unit.resources for flight in self._flights.values() if not flight.begun}
        homeless = [needs for needs in waiting if not self._port.holds([needs])]
        if not homeless:
            self._homeless_since_s = None
        elif self._homeless_since_s is None:
            self._homeless_since_s = now
        elif now - self._homeless_since_s >= self._home_wait_s:
            raise self._too_small("a unit whose machine has left the cluster", homeless[0])

    def _too_small(self, who: str, needs: Resources) -> ClusterError:
        return ClusterError(
            f"{who} needs {needs.cpus:g} CPUs, {needs.gpus:g} GPUs and "
            f"{needs.memory_bytes / 2**30:.2f} GiB on one node; no node has that: {self._port.describe()}",
            "add a larger node (a merge asks for less with --memory); the same command continues the run",
        )

    def _land(self) -> None:
        """Unqueue what waits, then hear out what runs, no longer than its deadline allows."""
        while ready := self._port.wait(list(self._flights), 0.0) if self._flights else []:
            self._hear_last(ready)
        for flight in [flight for flight in self._flights.values() if not flight.begun]:
            self._drop(flight)
        closed_s = self._clock()
        try:
            while self._flights:
                self._hear_last(self._port.wait(list(self._flights), POLL_S))
                now = self._clock()
                for flight in list(self._flights.values()):
                    deadline_s = self._policy.deadline_s(flight.job.unit.expected_s)
                    until_s = closed_s + LANDING_S if deadline_s is None else flight.since_s + deadline_s
                    if now > until_s:
                        self._drop(flight)
        except (KeyboardInterrupt, SystemExit):
            self.abandon()
            raise

    def _hear_last(self, handles: list[Any]) -> None:
        """News that nobody will be told of: what has begun is waited for, what has ended is forgotten."""
        for handle in handles:
            news, flight = self._port.news(handle), self._flights[handle]
            if isinstance(news, Result):
                self._ended(flight, news)
            else:
                flight.begun = True
