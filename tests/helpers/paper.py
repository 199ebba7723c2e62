"""Machines of paper, with a clock that the test turns: what dispatch and seats are tested with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cluster.attempt import Result
from cluster.contract import Resources, Unit
from cluster.port import Begun

GOOD = Result({"x": 1}, None, 0.5, "node")


class PaperPort:
    """Handles are numbers. `script(number)` lists (seconds after submission, news) of each attempt.

    It notes what is asked of it: `orders` (unit, actor) of each attempt, actors `hired` and `dismissed`.
    """

    def __init__(self, script: Callable[[int], list[tuple[float, Begun | Result]]]) -> None:
        self.now, self.script = 0.0, script
        self.homes, self.room, self.ended = True, True, False
        self.submitted: dict[int, float] = {}
        self.pending: dict[int, list[tuple[float, Begun | Result]]] = {}
        self.cancelled: list[tuple[int, bool]] = []
        self.cpus = 99.0
        self.orders: list[tuple[str, str | None]] = []
        self.hired: list[str] = []
        self.dismissed: list[tuple[str, bool]] = []
        self.most = 0

    def submit(self, unit: Unit, actor: str | None = None) -> int:
        """Number the attempt and plan its news."""
        number = len(self.submitted)
        self.orders.append((unit.id, actor))
        self.submitted[number] = self.now
        self.pending[number] = [(self.now + after, news) for after, news in self.script(number)]
        return number

    def wait(self, handles: Sequence[Any], timeout_s: float) -> list[Any]:
        """Let time pass until the next news of these handles, or the time-out."""
        self.most = max(self.most, len(handles))
        due = [(self.pending[handle][0][0], handle) for handle in handles if self.pending[handle]]
        when, handle = min(due, default=(float("inf"), -1))
        if when > self.now + timeout_s:
            self.now += timeout_s
            return []
        self.now = max(self.now, when)
        return [handle]

    def news(self, handle: Any) -> Begun | Result:
        """The next planned news."""
        return self.pending[handle].pop(0)[1]

    def cancel(self, handle: Any, *, force: bool) -> None:
        """Note it."""
        self.cancelled.append((handle, force))

    def holds(self, needs: Sequence[Resources]) -> bool:
        """Whether the machines are there and have so many CPUs."""
        return self.homes and sum(one.cpus for one in needs) <= self.cpus

    def hire(self, needs: Resources) -> str:
        """Name the actor."""
        self.hired.append(f"actor {len(self.hired)}")
        return self.hired[-1]

    def dismiss(self, actor: str, *, force: bool) -> None:
        """Note it."""
        self.dismissed.append((actor, force))

    def has_room(self, needs: Resources) -> bool:
        """As the test says."""
        return self.room

    def has_ended(self) -> bool:
        """As the test says."""
        return self.ended

    def describe(self) -> str:
        """Nothing."""
        return "paper"

    def sleep(self, seconds: float) -> None:
        """Turn the clock."""
        self.now += seconds


def quick(number: int) -> list[tuple[float, Begun | Result]]:
    """Begins after a second, ends after two."""
    return [(1.0, Begun("node")), (2.0, GOOD)]
