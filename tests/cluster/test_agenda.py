"""The bookkeeping of units: order, retries, and when a unit is settled."""

from __future__ import annotations

from cluster.agenda import Agenda, Job
from cluster.attempt import Result, lost
from cluster.contract import Unit
from cluster.retry import Policy

POLICY = Policy(max_attempts=3, pause_s=1.0)
GOOD = Result({"x": 1}, None, 0.5, "here")


def agenda(*names: str) -> Agenda:
    """An agenda over units with these ids."""
    return Agenda.of((Unit(name, dict, {}) for name in names), POLICY)


def taken(found: Agenda, now: float) -> Job:
    """The next job, which must exist."""
    job = found.take(now)
    assert job is not None
    return job


def test_units_keep_their_order() -> None:
    """Units are handed out in the order of their iterable, then None."""
    found = agenda("a", "b")
    assert [taken(found, 0).unit.id, taken(found, 0).unit.id, found.take(0)] == ["a", "b", None]


def test_looking_does_not_take() -> None:
    """`peek` shows the next unit as often as one likes, and pulls only that one."""
    found = agenda("a", "b")
    assert found.peek(0) is found.peek(0) is found.take(0)


def test_a_retry_waits_then_comes_first() -> None:
    """After a machine fault a unit is due again after its pause, before new units, counting its attempts."""
    found = agenda("a", "b", "c")
    job = taken(found, 0)
    assert found.end(job, lost("gone", 1.0, "w"), 0) is None
    assert found.pause_s(0) == 1.0
    assert taken(found, 0.5).unit.id == "b"
    assert taken(found, 1.0) is job and job.attempts == 2
    assert taken(found, 1.0).unit.id == "c"


def test_the_last_fault_settles() -> None:
    """The fault of the last attempt allowed is the outcome."""
    found = agenda("a")
    for attempt in range(1, 4):
        outcome = found.end(taken(found, 100.0 * attempt), lost(f"gone {attempt}", 1.0, "w"), 0)
    assert outcome is not None and outcome.fault is not None
    assert (outcome.attempts, outcome.fault.message) == (3, "gone 3")
    assert found.take(1e9) is None and found.pause_s(0) is None


def test_the_first_answer_wins() -> None:
    """Of two attempts in the air the first value settles the unit; whatever the other says is ignored."""
    found = agenda("a")
    job = taken(found, 0)
    found.add_attempt(job)
    outcome = found.end(job, GOOD, 1)
    assert outcome is not None and outcome.value == {"x": 1} and outcome.attempts == 2
    assert found.end(job, GOOD, 2) is None
    assert found.end(job, lost("gone", 1.0, "w"), 3) is None
    assert found.take(1e9) is None


def test_a_lost_attempt_waits_for_its_company() -> None:
    """While another attempt of the unit is in the air, a machine fault neither settles nor retries it."""
    found = agenda("a")
    job = taken(found, 0)
    found.add_attempt(job)
    assert found.end(job, lost("gone", 1.0, "w"), 0) is None
    assert found.pause_s(0) is None
    outcome = found.end(job, GOOD, 1)
    assert outcome is not None and outcome.fault is None
