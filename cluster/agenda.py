"""What every executor remembers about units: which is next, how often it was tried, what its end means.

Bookkeeping only: it says when a unit gets another try, but starts nothing, has no clock of its own (callers
pass `now`, in monotonic seconds) and pulls units from their iterable only when asked for the next one, so a
list of a million is never held.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cluster.attempt import Result
from cluster.contract import Outcome, Unit
from cluster.retry import Policy

_log = logging.getLogger("mergescale.cluster")


@dataclass
class Job:
    """One unit under way. Once `settled`, later answers of its other attempts are ignored."""

    unit: Unit
    attempts: int = 0
    live: int = 0
    settled: bool = False


@dataclass
class Agenda:
    """Units not begun, units waiting for another try, and what the end of an attempt means."""

    source: Iterator[Unit]
    policy: Policy
    _next: Job | None = None
    _retries: list[tuple[float, int, Job]] = field(default_factory=list)
    _pushed: int = 0

    @classmethod
    def of(cls, units: Iterable[Unit], policy: Policy) -> Agenda:
        """An agenda over any iterable of units."""
        return cls(iter(units), policy)

    def peek(self, now: float) -> Job | None:
        """The job to start next, left where it is: a retry that is due, else a new unit, else None."""
        if self._retries and self._retries[0][0] <= now:
            return self._retries[0][2]
        if self._next is None:
            unit = next(self.source, None)
            self._next = None if unit is None else Job(unit)
        return self._next

    def take(self, now: float) -> Job | None:
        """`peek`, and count an attempt as begun."""
        job = self.peek(now)
        if job is None:
            return None
        if self._next is job:
            self._next = None
        else:
            heapq.heappop(self._retries)
        self.add_attempt(job)
        return job

    def add_attempt(self, job: Job) -> None:
        """Count one more attempt of a job, whether it is the first, a retry or company for a slow one."""
        job.attempts += 1
        job.live += 1

    def end(self, job: Job, result: Result, now: float) -> Outcome | None:
        """One attempt of `job` ended. Returns its outcome when this settles it, None while there is hope."""
        job.live -= 1
        if job.settled:
            return None
        fault = result.fault
        if fault is not None and fault.kind == "machine":
            if job.live > 0:
                return None
            if self.policy.may_retry(fault.kind, job.attempts):
                _log.warning(
                    'unit "%s": attempt %d was lost (%s); trying again',
                    job.unit.id,
                    job.attempts,
                    fault.message,
                )
                due = now + self.policy.pause_before_s(job.attempts)
                heapq.heappush(self._retries, (due, self._pushed, job))
                self._pushed += 1
                return None
        return self.settle(job, result)

    def settle(self, job: Job, result: Result) -> Outcome:
        """Settle a job with this result, good or bad, whatever its other attempts may still say."""
        job.settled = True
        value = result.value if result.fault is None else None
        return Outcome(job.unit.id, value, result.fault, job.attempts, result.elapsed_s, result.worker)

    def pause_s(self, now: float) -> float | None:
        """Seconds until the earliest waiting retry is due; None when none waits."""
        return max(0.0, self._retries[0][0] - now) if self._retries else None
