"""Units with an affinity on actors of paper: who is hired, what each takes, and when they end."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import pytest

from cluster.agenda import Agenda
from cluster.attempt import Result, fault_of, lost
from cluster.contract import ClusterError, Outcome, Resources, Unit
from cluster.dispatch import Dispatch
from cluster.port import Begun
from cluster.retry import Policy
from cluster.seats import Seats
from tests.helpers.paper import GOOD, PaperPort, quick
from tests.helpers.small_ray import SmallRay

POLICY = Policy(max_attempts=3, deadline_factor=10, min_deadline_s=10, pause_s=1.0)
Script = Callable[[int], list[tuple[float, Begun | Result]]]


class Office:
    """Two CPUs and at most two actors (or as many as asked for), which outlive runs."""

    def __init__(self, script: Script = quick, cpus: float = 2, most: int = 2) -> None:
        self.port = PaperPort(script)
        self.port.cpus = cpus
        self.seats, self.window = Seats(self.port, most), most + 2

    def begin(self, units: Iterable[Unit]) -> Generator[Outcome, None, None]:
        """A run's outcomes."""
        port = self.port
        dispatch = Dispatch(
            port, self.seats, POLICY, self.window, 30.0, clock=lambda: port.now, sleep=port.sleep
        )
        return dispatch.run(Agenda.of(units, POLICY))

    def run(self, *units: Unit) -> list[Outcome]:
        """All outcomes of a run."""
        return list(self.begin(units))

    def actor_of(self, name: str) -> list[str | None]:
        """Which actors a unit was given to, attempt by attempt (None: none)."""
        return [actor for unit, actor in self.port.orders if unit == name]


def unit(name: str, cpus: float = 1, expected_s: float = 0.0) -> Unit:
    """`m0.3` has the affinity m0; a name without a dot has none."""
    affinity = name.partition(".")[0] if "." in name else ""
    return Unit(name, dict, {}, Resources(cpus), expected_s, affinity)


def test_each_affinity_stays_with_its_actor() -> None:
    """Of 8 models x 5 tasks each model is on one of two actors, save the last; its order is kept."""
    office = Office(lambda number: [(0.1, Begun("node")), (1.0 + number % 3, GOOD)])
    names = [f"m{model}.{task}" for model in range(8) for task in range(5)]
    assert len(office.run(*map(unit, names))) == 40
    assert office.port.hired == ["actor 0", "actor 1"] and office.port.dismissed == []
    pairs = {(name.partition(".")[0], actor) for name, actor in office.port.orders}
    assert 8 <= len(pairs) <= 9
    begun = [name for name, _ in office.port.orders]
    assert sorted(begun, key=lambda name: name[:2]) == names


def test_an_actor_has_one_unit_at_a_time() -> None:
    """Never more attempts are submitted to actors than there are actors."""
    office = Office()
    office.run(*(unit(f"m.{n}") for n in range(6)))
    assert office.port.most == 2


def test_a_later_run_finds_what_is_loaded() -> None:
    """Actors outlive a run: units of the next one go where their affinity was last."""
    office = Office()
    office.run(unit("a.0"), unit("b.0"))
    office.run(unit("b.1"), unit("a.1"))
    assert office.actor_of("a.0") == office.actor_of("a.1") == ["actor 0"]
    assert office.actor_of("b.0") == office.actor_of("b.1") == ["actor 1"]


def test_a_dead_actor_is_replaced() -> None:
    """A unit whose actor died is tried again on a new one; the dead one is ended and gets nothing more."""
    office = Office(lambda n: [(0.5, Begun("node")), (1.0, lost("gone", 0.0, ""))] if n == 0 else quick(n))
    (outcome,) = office.run(unit("a.0"))
    assert outcome.fault is None and outcome.attempts == 2
    assert office.actor_of("a.0") == ["actor 0", "actor 1"]
    assert office.port.dismissed == [("actor 0", True)]


def test_a_fault_of_the_unit_costs_no_actor() -> None:
    """An I/O error inside the unit is retried on the same actor, which still holds what it loaded."""
    broken = Result(None, fault_of(ConnectionResetError("reset")), 0.5, "node")
    office = Office(lambda n: [(0.5, Begun("node")), (1.0, broken)] if n == 0 else quick(n))
    (outcome,) = office.run(unit("a.0"))
    assert outcome.fault is None and outcome.attempts == 2
    assert office.actor_of("a.0") == ["actor 0", "actor 0"]


def test_idle_actors_make_room_for_tasks() -> None:
    """Tasks of a following run, or of the same one, end idle actors that hold their CPUs; no busy one."""
    office = Office()
    office.run(unit("a.0"), unit("b.0"))
    assert len(office.run(unit("x"), unit("y"))) == 2
    assert office.port.dismissed == [("actor 0", True), ("actor 1", True)]
    begins_s = {0: 1.0, 1: 0.0, 2: 5.0}
    office = Office(lambda n: [(begins_s[n], Begun("node")), (begins_s[n] + 3 * n + 1, GOOD)])
    assert len(office.run(unit("a.0"), unit("b.0"), unit("x"))) == 3
    assert office.port.dismissed == [("actor 0", True)]


def test_room_is_not_made_without_need() -> None:
    """A task that fits beside the idle actors ends none."""
    office = Office(cpus=3)
    office.run(unit("a.0"), unit("b.0"))
    office.run(unit("x"))
    assert office.port.dismissed == []


def test_another_shape_takes_the_place_of_idle_actors() -> None:
    """A unit that needs both CPUs ends idle actors of one each, waits for the busy one, and runs."""
    office = Office()
    assert len(office.run(unit("a.0"), unit("a.1"), unit("b.0"), unit("big.0", cpus=2))) == 4
    assert sorted(office.port.dismissed) == [("actor 0", True), ("actor 1", True)]
    assert office.actor_of("big.0") == ["actor 2"]


def test_plain_units_wait_for_no_actor() -> None:
    """While a unit with affinity waits for a busy actor's room, units without go on."""
    slow: Sequence[tuple[float, Begun | Result]] = [(0.1, Begun("node")), (50.0, GOOD)]
    office = Office(lambda n: list(slow) if n == 0 else quick(n))
    done = office.run(unit("a.0", cpus=2), unit("b.0", cpus=2), unit("x"), unit("y"))
    assert [outcome.unit_id for outcome in done] == ["x", "y", "a.0", "b.0"]


def test_an_idle_actor_gives_way_to_what_cannot_begin() -> None:
    """When an attempt has not begun for long, whoever holds its room, idle actors are ended."""
    office = Office(lambda n: quick(n) if n < 2 else [(60.0, Begun("node")), (61.0, GOOD)], cpus=99)
    office.run(unit("a.0"), unit("b.0"))
    office.run(unit("x"))
    assert [force for _, force in office.port.dismissed] == [True, True]


def test_a_late_actor_gets_company_from_a_task() -> None:
    """A unit that hangs on its actor gets a second attempt as a task; the actor ends after what it runs."""
    office = Office(lambda n: [(1.0, Begun("dead"))] if n == 0 else quick(n))
    (outcome,) = office.run(unit("a.0", expected_s=1.0))
    assert outcome.fault is None and outcome.attempts == 2
    assert office.actor_of("a.0") == ["actor 0", None]
    assert office.port.dismissed == [("actor 0", False)] and office.port.cancelled == []


def test_what_fits_nowhere_is_refused_before_anything_is_hired() -> None:
    """A unit with affinity that no machine can run is a ClusterError at once, also beside living actors."""
    for before in ([], [unit("a.0")]):
        office = Office()
        office.run(*before)
        with pytest.raises(ClusterError, match=r'unit "big\.0" needs 3 CPUs'):
            office.run(unit("big.0", cpus=3))
        assert len(office.port.hired) == len(before)


def test_an_actor_without_a_home_is_waited_for_then_named() -> None:
    """If the machines leave while a unit waits for its actor, the run ends after a grace period."""
    office = Office(lambda n: [])
    units = office.begin([unit("a.0")])
    wait = office.port.wait

    def leave(handles: Sequence[Any], timeout_s: float) -> list[Any]:
        office.port.homes = False
        return wait(handles, timeout_s)

    office.port.wait = leave  # type: ignore[method-assign]
    with pytest.raises(ClusterError, match="has left the cluster"):
        next(units)
    assert office.port.dismissed == [("actor 0", True)]


def test_closing_hears_out_what_runs_and_ends_what_waits() -> None:
    """On close an actor that runs a unit is waited for and kept; one that has not begun is ended."""
    script: dict[int, list[tuple[float, Begun | Result]]] = {
        0: quick(0),
        1: [(0.0, Begun("node")), (7.0, GOOD)],
    }
    office = Office(lambda n: list(script.get(n, [])), cpus=3, most=3)
    outcomes = office.begin(map(unit, ["a.0", "b.0", "c.0"]))
    next(outcomes)
    outcomes.close()
    assert office.port.now == 7.0 and office.port.dismissed == [("actor 2", True)]
    office.seats.end_all()
    assert sorted(office.port.dismissed) == [("actor 0", True), ("actor 1", True), ("actor 2", True)]


def test_interruption_ends_every_actor() -> None:
    """After Ctrl-C all actors are ended at once, busy or idle, and no time passes."""
    office = Office(lambda n: quick(n) if n == 0 else [(0.0, Begun("node"))])
    office.run(unit("a.0"))
    then = office.port.now

    def interrupt(handles: Sequence[Any], timeout_s: float) -> list[Any]:
        raise KeyboardInterrupt

    office.port.wait = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        office.run(unit("b.0"), unit("c.0"))
    assert sorted(office.port.dismissed) == [("actor 0", True), ("actor 1", True)]
    assert office.port.now == then and office.port.cancelled == []


@pytest.mark.parametrize("dying", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(25))
def test_any_mixture_ends_in_little_room(seed: int, dying: float) -> None:
    """On a machine where tasks and actors wait for CPUs that idle actors may hold, any runs of units of any
    shapes end, whoever dies, no later than one after the other would; then all CPUs can be free again.
    """
    dice = random.Random(seed)
    cpus = dice.randint(1, 4)
    port = SmallRay(cpus, seed, dying)
    seats = Seats(port, cpus)
    policy = Policy(max_attempts=50, pause_s=0.01, max_pause_s=0.1)
    for _ in range(3):
        names = [dice.choice(["x", "a.", "b.", "c."]) + str(n) for n in range(40)]
        units = [unit(name, cpus=dice.choice([0.5, 1, cpus])) for name in names]
        dispatch = Dispatch(port, seats, policy, cpus + 2, 30.0, clock=lambda: port.now, sleep=port.sleep)
        outcomes = list(dispatch.run(Agenda.of(units, policy)))
        assert sorted(outcome.unit_id for outcome in outcomes) == sorted(names)
        assert all(outcome.fault is None for outcome in outcomes)
    assert port.now < 3 * 40 * 3, "mean durations are one second"
    seats.end_all()
    port.wait([], 1000.0)
    assert port.free == cpus
