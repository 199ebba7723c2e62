"""What every executor promises, checked on threads, processes and an embedded Ray alike."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.contract import ClusterError, Executor, Outcome, Resources, Unit
from tests.helpers.processes import descendants, listening
from tests.helpers.units import (
    Fielded,
    attempts,
    dies_once,
    double,
    flaky,
    meets,
    raises,
    sleeps,
)


def one(executor: Executor, function: Any, **payload: Any) -> Outcome:
    """Run a single unit."""
    (outcome,) = executor.run([Unit("only", function, payload)])
    return outcome


def test_every_unit_has_one_outcome(executor: Executor) -> None:
    """Each unit comes back exactly once, with its own value, after one attempt."""
    outcomes = list(executor.run(Unit(f"u{n}", double, {"number": n}) for n in range(20)))
    assert sorted(outcome.unit_id for outcome in outcomes) == sorted(f"u{n}" for n in range(20))
    for outcome in outcomes:
        assert outcome.fault is None and outcome.value is not None
        assert outcome.value["value"] == 2 * int(outcome.unit_id[1:])
        assert outcome.attempts == 1 and outcome.worker


def test_no_units_give_no_outcomes(executor: Executor) -> None:
    """An empty iterable ends at once."""
    assert list(executor.run([])) == []


def test_units_are_taken_lazily(executor: Executor) -> None:
    """Of endlessly many units only a small window has been taken when the first outcome comes."""
    taken = itertools.count()
    outcomes = executor.run(Unit(str(n), double, {"number": n}) for n in taken)
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]  # executors return generators
    assert next(taken) <= 10


def test_outcomes_come_in_finish_order(executor: Executor, tmp_path: Path) -> None:
    """A quick unit behind a slow one comes first."""
    durations = {"slow": 1.5, "quick": 0.0}
    units = [
        Unit(name, sleeps, {"directory": str(tmp_path), "number": n, "seconds": seconds})
        for n, (name, seconds) in enumerate(durations.items())
    ]
    assert [outcome.unit_id for outcome in executor.run(units)] == ["quick", "slow"]


def test_workers_run_at_the_same_time(executor: Executor, tmp_path: Path) -> None:
    """Two workers run two units at once: units that wait for each other both end."""
    units = [Unit(str(n), meets, {"directory": str(tmp_path), "number": n}) for n in range(2)]
    assert all(outcome.fault is None for outcome in executor.run(units))


def test_a_unit_of_two_cpus_runs_alone(executor: Executor, tmp_path: Path) -> None:
    """Units that need both CPUs never overlap."""
    payload = {"directory": str(tmp_path), "seconds": 0.2}
    units = [Unit(str(n), sleeps, {**payload, "number": n}, Resources(cpus=2)) for n in range(3)]
    spans = sorted((o.value["begun"], o.value["ended"]) for o in executor.run(units) if o.value)
    assert len(spans) == 3
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.ENOENT])
def test_program_faults_are_not_retried(number: int, executor: Executor, tmp_path: Path) -> None:
    """A full disk, a missing right and a missing file are raised once and end the unit."""
    outcome = one(executor, raises, directory=str(tmp_path), error=number)
    assert outcome.value is None and outcome.fault is not None
    assert (outcome.fault.kind, outcome.attempts, attempts(tmp_path)) == ("program", 1, 1)
    assert isinstance(outcome.fault.exception, OSError) and outcome.fault.exception.errno == number


def test_exceptions_come_back_as_they_were(executor: Executor, tmp_path: Path) -> None:
    """The unit's own exception returns with its fields, and its traceback as text."""
    fault = one(executor, raises, directory=str(tmp_path), error="fields").fault
    assert fault is not None and isinstance(fault.exception, Fielded)
    assert (fault.exception.what, fault.exception.where) == ("wrong", "there")
    assert "Fielded" in fault.message and "in raises" in fault.traceback


def test_exceptions_that_cannot_travel_leave_their_text(isolated: Executor, tmp_path: Path) -> None:
    """An exception that cannot be unpickled is replaced by its message; the executor survives."""
    fault = one(isolated, raises, directory=str(tmp_path), error="fussy").fault
    assert fault is not None and fault.exception is None
    assert fault.kind == "program" and fault.message == "Fussy: this and that"


@pytest.mark.parametrize(("error", "name"), [("exit", "SystemExit"), ("none", "TypeError")])
def test_misbehaving_units_are_program_faults(
    error: str, name: str, executor: Executor, tmp_path: Path
) -> None:
    """A unit that calls sys.exit or returns no dict has failed by its own fault."""
    outcome = one(executor, raises, directory=str(tmp_path), error=error)
    assert outcome.fault is not None and outcome.fault.kind == "program"
    assert outcome.fault.message.startswith(name) and outcome.attempts == 1


def test_machine_faults_are_retried(executor: Executor, tmp_path: Path) -> None:
    """An I/O error that goes away after two attempts leaves a value and three attempts."""
    outcome = one(executor, flaky, directory=str(tmp_path), number=0, works_at=3)
    assert outcome.value == {"value": 0}
    assert outcome.attempts == attempts(tmp_path) == 3


def test_machine_faults_are_not_retried_for_ever(executor: Executor, tmp_path: Path) -> None:
    """An I/O error that stays is given up after the policy's three attempts, as a machine fault."""
    outcome = one(executor, flaky, directory=str(tmp_path), number=0, works_at=99)
    assert outcome.fault is not None and outcome.fault.kind == "machine"
    assert outcome.attempts == attempts(tmp_path) == 3


def test_a_killed_worker_is_replaced(isolated: Executor, tmp_path: Path) -> None:
    """A unit whose worker is killed runs again in another process; its neighbours never notice."""
    payload = {"directory": str(tmp_path)}
    units = [Unit("dies", dies_once, {**payload, "number": 0})]
    units += [Unit(f"u{n}", double, {"number": n}) for n in range(1, 5)]
    outcomes = {outcome.unit_id: outcome for outcome in isolated.run(units)}
    assert all(outcome.fault is None for outcome in outcomes.values())
    assert outcomes["dies"].attempts == attempts(tmp_path) == 2
    assert all(outcomes[f"u{n}"].attempts == 1 for n in range(1, 5))


def test_closing_early_starts_no_more_and_waits(executor: Executor, tmp_path: Path) -> None:
    """After close no unit begins, and none still runs."""
    payload = {"directory": str(tmp_path), "seconds": 0.3}
    outcomes = executor.run(Unit(str(n), sleeps, {**payload, "number": n}) for n in range(50))
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    begun = len(list(tmp_path.iterdir()))
    assert begun <= 10
    late = one(executor, sleeps, directory=str(tmp_path), number=99, seconds=0.5)
    assert late.fault is None
    assert len(list(tmp_path.iterdir())) == begun + 1


def test_an_iterator_dropped_unread_leaves_the_executor_free(executor: Executor) -> None:
    """A reader that breaks off without closing does not block the next run."""
    for _ in executor.run(Unit(str(n), double, {"number": n}) for n in range(20)):
        break
    assert one(executor, double, number=4).value is not None


@pytest.mark.parametrize("needs", [Resources(cpus=1000), Resources(gpus=1)])
def test_units_that_never_fit_are_refused(needs: Resources, executor: Executor) -> None:
    """A unit larger than every machine is a ClusterError naming it, not an endless wait."""
    with pytest.raises(ClusterError, match='unit "big" needs') as caught:
        list(executor.run([Unit("big", double, {"number": 1}, needs)]))
    assert caught.value.hint


def test_two_runs_at_once_are_refused(executor: Executor) -> None:
    """A second run while the first is open is an error, not a mixture; the first goes on."""
    first = executor.run(Unit(str(n), double, {"number": n}) for n in range(3))
    next(first)
    with pytest.raises(ClusterError, match="running other units"):
        list(executor.run([]))
    assert len(list(first)) == 2
    assert list(executor.run([])) == []


def test_units_that_cannot_be_pickled_are_program_faults(isolated: Executor) -> None:
    """A payload that cannot leave this process fails once, with the reason; its neighbours run."""
    units = [Unit("stays", double, {"number": threading.Lock()}), Unit("goes", double, {"number": 1})]
    outcomes = {outcome.unit_id: outcome for outcome in isolated.run(units)}
    fault = outcomes["stays"].fault
    assert fault is not None and fault.kind == "program" and "pickle" in fault.message
    assert outcomes["goes"].fault is None


def test_a_failing_source_of_units_is_heard(executor: Executor) -> None:
    """An exception raised while units are made reaches the caller; the executor remains usable."""

    def source() -> Iterator[Unit]:
        yield Unit("a", double, {"number": 1})
        raise RuntimeError("no more units")

    with pytest.raises(RuntimeError, match="no more units"):
        list(executor.run(source()))
    assert one(executor, double, number=3).fault is None


def test_nothing_listens_to_the_world(executor: Executor) -> None:
    """Whatever an executor starts accepts connections from this machine alone."""
    list(executor.run([Unit("u", double, {"number": 1})]))
    assert listening(set(descendants(os.getpid()))) <= {"127.0.0.1"}
