"""A Ray of paper that is small: tasks and actors wait until their CPUs are free, and some of them die."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from typing import Any

from cluster.attempt import Result, lost
from cluster.contract import Resources, Unit
from cluster.port import Begun
from tests.helpers.paper import GOOD


class SmallRay:
    """One machine. What waits begins in its order, save that it passes over what does not fit yet.

    A token is what occupies CPUs: an actor (str) or a task (its handle, int).
    """

    def __init__(self, cpus: float, seed: int, dying: float) -> None:
        self.cpus = self.free = cpus
        self.dice, self.dying = random.Random(seed), dying
        self.now, self.count = 0.0, 0
        self.waiting: list[int | str] = []
        self.needs: dict[int | str, float] = {}
        self.living: set[int | str] = set()
        self.orders: dict[int | str, int] = {}
        self.messages: dict[int, list[Begun | Result]] = {}
        self.ends: list[tuple[float, int, int | str]] = []

    def submit(self, unit: Unit, actor: str | None = None) -> int:
        """Queue a task, or order a unit from an actor."""
        self.count += 1
        handle = self.count
        self.messages[handle] = []
        if actor is None:
            self._queue(handle, unit.resources)
        elif actor in self.living:
            self._begin(handle, actor)
        else:
            self.orders[actor] = handle
        return handle

    def hire(self, needs: Resources) -> str:
        """Queue an actor."""
        self.count += 1
        self._queue(f"actor {self.count}", needs)
        return f"actor {self.count}"

    def dismiss(self, actor: str, *, force: bool) -> None:
        """End an actor, wherever it is."""
        if actor in self.waiting:
            self.waiting.remove(actor)
        self._free(actor)

    def wait(self, handles: Sequence[Any], timeout_s: float) -> list[Any]:
        """Let time pass until one of the handles has a message, or the time is over."""
        until = self.now + timeout_s
        while True:
            self._start()
            if found := [handle for handle in handles if self.messages[handle]]:
                return found
            if not self.ends or self.ends[0][0] > until:
                self.now = until
                return []
            self.now, handle, token = heapq.heappop(self.ends)
            dies = self.dice.random() < self.dying
            self.messages[handle].append(lost("died", 0.0, "") if dies else GOOD)
            if dies or token == handle:
                self._free(token)

    def news(self, handle: int) -> Begun | Result:
        """The next message."""
        return self.messages[handle].pop(0)

    def cancel(self, handle: int, *, force: bool) -> None:
        """Take a task out of the queue."""
        if handle in self.waiting:
            self.waiting.remove(handle)

    def holds(self, needs: Sequence[Resources]) -> bool:
        """Whether there are so many CPUs."""
        return sum(one.cpus for one in needs) <= self.cpus

    def has_room(self, needs: Resources) -> bool:
        """Whether so many CPUs are free."""
        return needs.cpus <= self.free

    def has_ended(self) -> bool:
        """Never."""
        return False

    def describe(self) -> str:
        """Its CPUs."""
        return f"{self.cpus} CPUs"

    def sleep(self, seconds: float) -> None:
        """Turn the clock."""
        self.now += seconds

    def _queue(self, token: int | str, needs: Resources) -> None:
        self.needs[token] = needs.cpus
        self.waiting.append(token)

    def _start(self) -> None:
        for token in list(self.waiting):
            if self.needs[token] > self.free:
                continue
            self.waiting.remove(token)
            self.living.add(token)
            self.free -= self.needs[token]
            if isinstance(token, int):
                self._begin(token, token)
            elif token in self.orders:
                self._begin(self.orders.pop(token), token)

    def _begin(self, handle: int, token: int | str) -> None:
        self.messages[handle].append(Begun("node"))
        heapq.heappush(self.ends, (self.now + self.dice.expovariate(1.0), handle, token))

    def _free(self, token: int | str) -> None:
        if token in self.living:
            self.living.remove(token)
            self.free += self.needs[token]
