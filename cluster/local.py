"""The reference executor: threads or processes of this machine, no Ray.

It never runs more than the given CPUs, memory and GPUs allow, takes units in their order (those with an
affinity by the rule of placing.py), and knows no deadline: a second attempt on the same machine would wait
for the same disk.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Literal, Self

from cluster.agenda import Agenda
from cluster.attempt import Result
from cluster.contract import ClusterError, Outcome, Resources, Unit
from cluster.lanes import ProcessLane, ThreadLane
from cluster.placing import Job, place
from cluster.retry import Policy

SHARE = 10_000  # CPUs and GPUs are counted in ten-thousandths, as whole numbers, so that sums never drift


class LocalExecutor:
    """Runs units on this machine, at most `workers` at once.

    `kind="thread"` shares the caller's process (numpy and torch release the GIL; thread counts are the
    caller's); `kind="process"` spawns a child a worker, replaced when it dies. `memory_bytes` (None: not
    counted) and `gpus` bound what runs together.

    Raises:
        ClusterError: from `run`, for a unit that needs more than the executor has in all.
    """

    name = "local"

    def __init__(
        self,
        workers: int,
        kind: Literal["thread", "process"] = "thread",
        *,
        memory_bytes: int | None = None,
        gpus: float = 0.0,
        policy: Policy | None = None,
    ) -> None:
        if workers < 1:
            raise ClusterError(f"an executor needs at least one worker, not {workers}", "ask for --workers 1")
        self.workers, self.kind = workers, kind
        self._policy = policy or Policy()
        self._total = Budget(workers, gpus, memory_bytes)
        self._results: SimpleQueue[tuple[Job, Result]] = SimpleQueue()
        self._lanes: list[ThreadLane] = []
        self._idle: list[ThreadLane] = []
        self._latest: Callable[[], Generator[Outcome, None, None] | None] = lambda: None
        self._busy = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the lanes: at once after Ctrl-C or a request to exit, else when their units have ended."""
        if kind is not None and not issubclass(kind, Exception):
            self._abandon()
        latest = self._latest()
        if latest is not None:
            latest.close()
        for lane in self._lanes:
            lane.stop()
        self._lanes, self._idle = [], []

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        """One outcome a unit, as they finish. Closing early starts no more and waits for what runs."""
        if self._busy:
            raise ClusterError("this executor is running other units", "finish or close that iterator first")
        outcomes = self._run(Agenda.of(units, self._policy))
        self._latest = weakref.ref(outcomes)  # weak: an iterator that its reader drops must close itself
        return outcomes

    def _run(self, agenda: Agenda) -> Generator[Outcome, None, None]:
        running: dict[int, tuple[Job, ThreadLane]] = {}
        self._busy = True
        try:
            while True:
                self._begin(agenda, running)
                pause_s = agenda.pause_s(time.monotonic())
                if not running and pause_s is None:
                    return
                outcome = self._next_outcome(agenda, running, pause_s)
                if outcome is not None:
                    yield outcome
        except (KeyboardInterrupt, SystemExit):
            self._abandon()
            raise
        finally:
            self._wait_for(running)
            self._busy = False

    def _begin(self, agenda: Agenda, running: dict[int, tuple[Job, ThreadLane]]) -> None:
        """Start units by the placement rule while the next one fits.

        A lane is made only when none is idle: what lanes have loaded stays in memory.
        """
        now = time.monotonic()
        while len(running) < self.workers:
            free = [lane.affinity for lane in reversed(self._idle)] or [""]
            choice = place(agenda.ready(now), free, {lane.affinity for lane in self._lanes})
            if choice is None:
                return
            index, job = choice
            self._total.require(job.unit)
            if not self._total.fits(job.unit.resources):
                return
            agenda.begin(job)
            self._total.take(job.unit.resources)
            lane = self._idle.pop(-1 - index) if self._idle else self._new_lane()
            running[id(job)] = (job, lane)
            lane.begin(job)

    def _new_lane(self) -> ThreadLane:
        lane_class = ThreadLane if self.kind == "thread" else ProcessLane
        self._lanes.append(lane_class(len(self._lanes), self._results))
        return self._lanes[-1]

    def _next_outcome(
        self, agenda: Agenda, running: dict[int, tuple[Job, ThreadLane]], pause_s: float | None
    ) -> Outcome | None:
        """Wait for one attempt to end, or for a retry to be due; None when no unit is settled by it."""
        try:
            job, result = self._results.get(timeout=pause_s)
        except Empty:
            return None
        self._release(running, job)
        return agenda.end(job, result, time.monotonic())

    def _release(self, running: dict[int, tuple[Job, ThreadLane]], job: Job) -> None:
        _, lane = running.pop(id(job))
        self._idle.append(lane)
        self._total.give(job.unit.resources)

    def _wait_for(self, running: dict[int, tuple[Job, ThreadLane]]) -> None:
        """Wait until what runs has ended (nothing runs any more after `_abandon`)."""
        try:
            while running and self._lanes:
                self._release(running, self._results.get()[0])
        except (KeyboardInterrupt, SystemExit):
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Forget every lane, killing child processes: nobody waits for a unit after Ctrl-C."""
        for lane in self._lanes:
            lane.kill()
        self._lanes, self._idle = [], []
        self._results = SimpleQueue()
        self._total.clear()


class Budget:
    """What units occupy together, against what there is. Whole numbers only."""

    def __init__(self, cpus: float, gpus: float, memory_bytes: int | None) -> None:
        self._total = (round(cpus * SHARE), round(gpus * SHARE), memory_bytes)
        self.clear()

    def clear(self) -> None:
        """Nothing is occupied."""
        self._used = [0, 0, 0]

    def fits(self, needs: Resources) -> bool:
        """Whether a unit with these needs can start now."""
        return self._fits(needs, self._used)

    def take(self, needs: Resources) -> None:
        """Occupy."""
        self._used = [used + more for used, more in zip(self._used, _amounts(needs), strict=True)]

    def give(self, needs: Resources) -> None:
        """Free again."""
        self._used = [used - less for used, less in zip(self._used, _amounts(needs), strict=True)]

    def require(self, unit: Unit) -> None:
        """ClusterError when the unit could not run even alone."""
        if not self._fits(unit.resources, [0, 0, 0]):
            cpus, gpus, memory_bytes = self._total
            has = f"{cpus / SHARE:g} CPUs, {gpus / SHARE:g} GPUs" + (
                "" if memory_bytes is None else f", {memory_bytes:,} bytes of memory"
            )
            needs = unit.resources
            raise ClusterError(
                f'unit "{unit.id}" needs {needs.cpus:g} CPUs, {needs.gpus:g} GPUs and '
                f"{needs.memory_bytes:,} bytes of memory; this executor has {has}",
                self._hint(unit.resources),
            )

    def _hint(self, needs: Resources) -> str:
        """What to do about the first thing that a unit lacks."""
        cpus, gpus, _ = _amounts(needs)
        if cpus > self._total[0]:
            return "raise --workers"
        if gpus > self._total[1]:
            return "run on a Ray cluster with GPUs: --address"
        return "free memory on this machine, or run on a larger one or on a Ray cluster: --address"

    def _fits(self, needs: Resources, used: list[int]) -> bool:
        return all(
            total is None or have + more <= total
            for total, have, more in zip(self._total, used, _amounts(needs), strict=True)
        )


def _amounts(needs: Resources) -> tuple[int, int, int]:
    return round(needs.cpus * SHARE), round(needs.gpus * SHARE), needs.memory_bytes
