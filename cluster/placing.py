"""The rule by which units find workers: who has loaded what a unit wants takes it, but nobody idles for that.

Pure and the same for every executor. It starts nothing and knows neither time nor machines: executors say
which workers are free and what every worker holds, and it answers which unit one of them takes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cluster.contract import Unit


@dataclass(eq=False)
class Job:
    """One unit under way; `number` is its place in the order of units. Once `settled`, later answers of its
    other attempts are ignored.
    """

    unit: Unit
    number: int
    attempts: int = 0
    live: int = 0
    settled: bool = False


class Ready:
    """Jobs that may begin, in order within each affinity. No step costs more where there are more jobs."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[Job]] = OrderedDict()  # by arrival of their first job
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, job: Job) -> None:
        """A new job, behind those that are there."""
        self._queues.setdefault(job.unit.affinity, deque()).append(job)
        self._count += 1

    def put_back(self, job: Job) -> None:
        """A job for another try, before those that are there."""
        affinity = job.unit.affinity
        self._queues.setdefault(affinity, deque()).appendleft(job)
        self._queues.move_to_end(affinity, last=False)
        self._count += 1

    def remove(self, job: Job) -> None:
        """A job that `first`, `first_unheld` or `first_of_most` gave begins."""
        affinity = job.unit.affinity
        queue = self._queues[affinity]
        assert queue[0] is job
        queue.popleft()
        self._count -= 1
        if not queue:
            del self._queues[affinity]

    def first(self, affinity: str) -> Job | None:
        """The first job of this affinity ("": of those without)."""
        queue = self._queues.get(affinity)
        return queue[0] if queue else None

    def first_unheld(self, held: Collection[str]) -> Job | None:
        """The first job that has no affinity or the first one that nobody holds, whichever came first."""
        queues = (queue for affinity, queue in self._queues.items() if affinity and affinity not in held)
        wanted, plain = next(queues, None), self._queues.get("")
        heads = [queue[0] for queue in (wanted, plain) if queue]
        return min(heads, key=lambda job: job.number, default=None)

    def first_of_most(self) -> Job | None:
        """The first job of the affinity with most jobs left."""
        most = max(self._queues.values(), key=len, default=None)
        return most[0] if most else None


def place(ready: Ready, free: Sequence[str], held: Collection[str]) -> tuple[int, Job] | None:
    """Which job begins next, and the index of the free worker that takes it; None if there is none.

    free: what each free worker holds (the last affinity that it ran; "": nothing), the preferred one first.
    held: what all workers hold, free or not. In this order: a job whose affinity a free worker holds; one
    that has none or whose affinity nobody holds; one stolen from the affinity with most jobs left. Thus with
    two workers each affinity is loaded once, and one of them once more at the end.
    """
    for index, affinity in enumerate(free):
        if affinity and (job := ready.first(affinity)) is not None:
            return index, job
    if not free:
        return None
    job = ready.first_unheld(held) or ready.first_of_most()
    return None if job is None else (0, job)
