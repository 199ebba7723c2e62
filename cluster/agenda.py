"""What every executor remembers about units: which are ready, how often each was tried, what its end means.

Bookkeeping only: it says when a unit gets another try, but starts nothing, chooses nothing (placing.py does)
and has no clock of its own (callers pass `now`, in monotonic seconds). It pulls units from their iterable
only when asked what is ready: one at a time where units have no affinity, and never more than LOOK_AHEAD
at once, so a list of a million is never held.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cluster.attempt import Result
from cluster.contract import Outcome, Unit
from cluster.placing import Job, Ready
from cluster.retry import Policy

_log = logging.getLogger("mergescale.cluster")


LOOK_AHEAD = 4096  # units with affinity that are looked through for one that suits a worker


@dataclass
class Agenda:
    """Units not begun, units waiting for another try, and what the end of an attempt means."""

    source: Iterator[Unit]
    policy: Policy
    _ready: Ready = field(default_factory=Ready)
    _last: Job | None = None
    _pulled: int = 0
    _retries: list[tuple[float, int, Job]] = field(default_factory=list)
    _pushed: int = 0

    @classmethod
    def of(cls, units: Iterable[Unit], policy: Policy) -> Agenda:
        """An agenda over any iterable of units."""
        return cls(iter(units), policy)

    def ready(self, now: float) -> Ready:
        """The jobs that may begin: retries that are due come before new units of their kind.

        New units are pulled until the newest is one that any worker may take.
        """
        while self._retries and self._retries[0][0] <= now:
            self._ready.put_back(heapq.heappop(self._retries)[2])
        while len(self._ready) < LOOK_AHEAD and (self._last is None or self._last.unit.affinity):
            unit = next(self.source, None)
            if unit is None:
                break
            self._last = Job(unit, self._pulled)
            self._pulled += 1
            self._ready.add(self._last)
        return self._ready

    def begin(self, job: Job) -> None:
        """An attempt of a ready job begins: it is ready no more, and the attempt counts."""
        self._ready.remove(job)
        if job is self._last:
            self._last = None
        self.add_attempt(job)

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
