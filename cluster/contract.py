"""What it means to run work somewhere: Unit in, Outcome out. Typed, generic, no Ray.

A unit is a module-level function and a small payload (paths and ranges, never data); its value is a small
dict. Units are at-least-once: after a machine fault or a missed deadline a second attempt may overlap the
first, so a unit's effect must be the same bytes however often it runs. Where it runs must not matter either:
affinity is a preference that saves loading, never a promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self


@dataclass(frozen=True)
class Resources:
    """What one unit occupies while it runs. Executors never run more at once than the machines have."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Unit:
    """A piece of work. `expected_s` (0: unknown) sets the deadline after which a new attempt is submitted.

    Units of one `affinity` share what a worker has loaded for them: executors run them on one worker while
    that costs no idle worker. A preference only: outcomes are the same wherever a unit runs.
    """

    id: str
    function: Callable[[Mapping[str, Any]], dict[str, Any]]
    payload: Mapping[str, Any]
    resources: Resources = Resources()
    expected_s: float = 0.0
    affinity: str = ""


@dataclass(frozen=True)
class Fault:
    """Why a unit failed for good. "machine": tried elsewhere until attempts ran out; "program": not worth
    retrying.
    """

    kind: Literal["machine", "program"]
    message: str
    traceback: str = ""
    exception: BaseException | None = None


@dataclass(frozen=True)
class Outcome:
    """Exactly one per unit, in the order units finish: either a value or a fault."""

    unit_id: str
    value: dict[str, Any] | None
    fault: Fault | None
    attempts: int
    elapsed_s: float
    worker: str


class ClusterError(Exception):
    """The cluster itself cannot do what was asked (unreachable, too small, wrong versions). Says what to do
    in `hint`.
    """

    exit_code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what, hint)
        self.what, self.hint = what, hint

    def __str__(self) -> str:
        return f"{self.what}\n  hint:     {self.hint}" if self.hint else self.what


class Executor(Protocol):
    """Runs units. `workers` is how many run at once. Leaving the context stops what it started."""

    name: str
    workers: int

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        """Yield one outcome a unit, as they finish; closing the iterator cancels what has not started."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
