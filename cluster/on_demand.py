"""An executor that several stages of one command share: started when the first unit comes, stopped once.

Starting workers costs seconds, and what they have loaded is lost with them. It runs nothing by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

from cluster.contract import Executor, Outcome, Unit


class OnDemand:
    """Starts with the first units and stays until `close`, however often its context is entered and left."""

    def __init__(self, start: Callable[[], Executor], name: str, workers: int) -> None:
        self._start = start
        self._running: Executor | None = None
        self.name, self.workers = name, workers

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        """See `Executor.run`."""
        if self._running is None:
            self._running = self._start().__enter__()
            self.workers = self._running.workers
        return self._running.run(units)

    def close(self) -> None:
        """Stop what was started, if anything was."""
        if self._running is not None:
            self._running.__exit__(None, None, None)
            self._running = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stages leave it running; see `close`."""
