"""The bookkeeping of units: order, retries, and when a unit is settled."""

from __future__ import annotations

import itertools

from cluster.agenda import LOOK_AHEAD, Agenda
from cluster.attempt import Result, lost
from cluster.contract import Unit
from cluster.placing import Job, place
from cluster.retry import Policy

POLICY = Policy(max_attempts=3, pause_s=1.0)
GOOD = Result({"x": 1}, None, 0.5, "here")


def agenda(*names: str) -> Agenda:
    """An agenda over units with these ids."""
    return Agenda.of((Unit(name, dict, {}) for name in names), POLICY)


def take(found: Agenda, now: float, worker: str = "") -> Job | None:
    """Begin the next job for a worker that holds this affinity."""
    choice = place(found.ready(now), [worker], {worker})
    if choice is not None:
        found.begin(choice[1])
    return None if choice is None else choice[1]


def taken(found: Agenda, now: float, worker: str = "") -> Job:
    """The next job, which must exist."""
    job = take(found, now, worker)
    assert job is not None
    return job


def test_units_keep_their_order() -> None:
    """Units are handed out in the order of their iterable, then None."""
    found = agenda("a", "b")
    assert [taken(found, 0).unit.id, taken(found, 0).unit.id, take(found, 0)] == ["a", "b", None]


def test_looking_does_not_take() -> None:
    """Asking what is ready, as often as one likes, pulls one unit without affinity and begins none."""
    pulled = itertools.count()
    found = Agenda.of((Unit(str(n), dict, {}) for n in pulled), POLICY)
    assert found.ready(0).first("") is found.ready(0).first("") is take(found, 0)
    assert next(pulled) == 1


def test_units_with_affinity_are_looked_through() -> None:
    """Behind units of other affinities a worker finds its own, as far as the look-ahead goes."""
    pulled = itertools.count()
    found = Agenda.of((Unit(str(n), dict, {}, affinity=f"m{n % 8}") for n in pulled), POLICY)
    assert [taken(found, 0, "m5").unit.id for _ in range(2)] == ["5", "13"]
    assert next(pulled) == LOOK_AHEAD + 1


def test_looking_ahead_ends_at_a_unit_for_anyone() -> None:
    """Nothing behind a unit without affinity is pulled before that unit has begun."""
    found = Agenda.of([Unit("a", dict, {}, affinity="m"), Unit("b", dict, {}), Unit("c", dict, {})], POLICY)
    assert len(found.ready(0)) == 2
    assert [taken(found, 0).unit.id for _ in range(3)] == ["a", "b", "c"]


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
    assert take(found, 1e9) is None and found.pause_s(0) is None


def test_the_first_answer_wins() -> None:
    """Of two attempts in the air the first value settles the unit; whatever the other says is ignored."""
    found = agenda("a")
    job = taken(found, 0)
    found.add_attempt(job)
    outcome = found.end(job, GOOD, 1)
    assert outcome is not None and outcome.value == {"x": 1} and outcome.attempts == 2
    assert found.end(job, GOOD, 2) is None
    assert found.end(job, lost("gone", 1.0, "w"), 3) is None
    assert take(found, 1e9) is None


def test_a_lost_attempt_waits_for_its_company() -> None:
    """While another attempt of the unit is in the air, a machine fault neither settles nor retries it."""
    found = agenda("a")
    job = taken(found, 0)
    found.add_attempt(job)
    assert found.end(job, lost("gone", 1.0, "w"), 0) is None
    assert found.pause_s(0) is None
    outcome = found.end(job, GOOD, 1)
    assert outcome is not None and outcome.fault is None


def test_a_lost_unit_goes_before_its_own_kind() -> None:
    """A retry that is due comes before other units of its affinity, for the worker that holds it."""
    found = Agenda.of([Unit(name, dict, {}, affinity="m") for name in "abc"], POLICY)
    job = taken(found, 0, "m")
    found.end(job, lost("gone", 1.0, "w"), 0)
    assert [taken(found, 0.5, "m").unit.id, taken(found, 1.0, "m").unit.id] == ["b", "a"]
