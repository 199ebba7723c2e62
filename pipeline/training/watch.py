"""Training many models at once: run their units, show how far they are, say what failed.

Workers write steps to files, which are looked at once a second; nothing here knows what is trained.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from cluster.contract import Executor, Outcome, Unit
from cluster.progress import Progress
from pipeline.errors import LIST_ITEM, MergescaleError, UnitError

_LOOK_EVERY_S = 1.0


def run_watched(
    units: Mapping[str, Unit],
    steps: Mapping[str, int],
    executor: Executor,
    *,
    last_step: Callable[[str], int],
    describe: Callable[[str, Mapping[str, Any]], str],
    label: str,
    show_progress: bool,
) -> tuple[dict[str, dict[str, Any]], dict[str, Outcome]]:
    """Train the model of every unit, in their order; (record by name, what failed by name).

    steps: name -> steps of the whole training; names that have no unit were finished before. last_step: name
    -> the newest step, 0 before the first. describe: one line about a finished model.
    """
    names = {unit.id: name for name, unit in units.items()}
    records: dict[str, dict[str, Any]] = {}
    failed: dict[str, Outcome] = {}
    total, left = sum(steps.values()), sum(steps[name] for name in units)
    with (
        Progress(total, label, enabled=show_progress, unit="items", done=total - left) as progress,
        _Watch({name: steps[name] for name in units}, last_step, progress) as watch,
    ):
        for outcome in executor.run(units.values()):
            name = names[outcome.unit_id]
            if outcome.value is None:
                failed[name] = outcome
                continue
            records[name] = outcome.value
            watch.finish(name, describe(name, outcome.value))
    return records, failed


def placed(unit: Unit, executor: Executor) -> Unit:
    """The unit as this executor runs it. Only Ray hands out GPUs; local workers share the one they see."""
    if executor.name == "ray":
        return unit
    return replace(unit, resources=replace(unit.resources, gpus=0.0))


class _Watch:
    """While its context is open, advances a progress by the steps that are new.

    steps: name -> steps of the whole training, of every model that is being trained.  last_step: name -> the
    newest step, 0 before the first.
    """

    def __init__(self, steps: Mapping[str, int], last_step: Callable[[str], int], progress: Progress) -> None:
        self._steps, self._last_step, self._progress = steps, last_step, progress
        self._seen = dict.fromkeys(steps, 0)
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._look, name="training-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def finish(self, name: str, line: str) -> None:
        """The model is done, whatever its file says; `line` is what to tell people."""
        self._advance(name, self._steps[name], finished=1)
        self._progress.note(line)

    def _look(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            for name in self._steps:
                self._advance(name, self._last_step(name))

    def _advance(self, name: str, step: int, finished: int = 0) -> None:
        """Count the steps that are new; an attempt that began again counts when it has caught up."""
        with self._lock:
            new = max(0, step - self._seen[name])
            self._seen[name] += new
        if new or finished:
            self._progress.advance(new, finished)


def failure(failed: Mapping[str, Outcome], what: str) -> UnitError:
    """What to raise for models that failed, by name: all of them, each with its reason."""
    return UnitError(
        what,
        where=LIST_ITEM.join(f"{name}: {reason(outcome)}" for name, outcome in failed.items()),
        hint="run the same command again when that is mended: it goes on where it stopped",
    )


def reason(outcome: Outcome) -> str:
    """Why a unit failed, in one line: all that an error of ours says, or its fault's words."""
    fault = outcome.fault
    if fault is None:
        return "it gave nothing"
    error = fault.exception
    return error.one_line if isinstance(error, MergescaleError) else fault.message
