"""The way to machines that are not this process: what dispatch.py and seats.py ask of Ray, and nothing more.

A description only. Handles and actors are the port's own, hashable, and opaque to those who use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cluster.attempt import Result
from cluster.contract import Resources, Unit


@dataclass(frozen=True)
class Begun:
    """News that an attempt has left the queue."""

    worker: str


class Port(Protocol):
    """Submits attempts, as tasks of their own or to actors, and hears of them."""

    def submit(self, unit: Unit, actor: Any = None) -> Any:
        """Queue one attempt, with an actor if one is given; returns its handle."""

    def wait(self, handles: Sequence[Any], timeout_s: float) -> list[Any]:
        """Handles that have news, at least one unless the time is over."""

    def news(self, handle: Any) -> Begun | Result:
        """What a handle that `wait` returned has to say. A result without a worker: the worker is gone."""

    def cancel(self, handle: Any, *, force: bool) -> None:
        """Take a task out of the queue; with `force`, kill it if it runs."""

    def hire(self, needs: Resources) -> Any:
        """A new actor for units with exactly these needs, which it occupies until its end. It may have to
        wait for them; units can be submitted to it at once.
        """

    def dismiss(self, actor: Any, *, force: bool) -> None:
        """End an actor: at once with `force`, else after what it runs."""

    def holds(self, needs: Sequence[Resources]) -> bool:
        """Whether the machines could run all of these at once if they had nothing else to do."""

    def has_room(self, needs: Resources) -> bool:
        """Whether such a unit should begin at once, as far as the machines know."""

    def has_ended(self) -> bool:
        """Whether the machines' control process is known to be gone: then nothing more will be heard."""

    def describe(self) -> str:
        """What the machines have, for a message."""
