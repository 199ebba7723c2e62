"""The rules of remote running, with machines of paper and a clock that the test turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from cluster.agenda import Agenda
from cluster.attempt import lost
from cluster.contract import ClusterError, Outcome, Unit
from cluster.dispatch import Dispatch
from cluster.port import Begun
from cluster.retry import Policy
from cluster.seats import Seats
from tests.helpers.paper import GOOD, PaperPort, quick

POLICY = Policy(max_attempts=3, deadline_factor=10, min_deadline_s=10, pause_s=1.0)


def run(port: PaperPort, units: int = 1, window: int = 4, expected_s: float = 1.0) -> list[Outcome]:
    """All outcomes of some units that are expected to take a second each."""
    dispatch = Dispatch(
        port, Seats(port, window), POLICY, window, 30.0, clock=lambda: port.now, sleep=port.sleep
    )
    source = (Unit(str(n), dict, {}, expected_s=expected_s) for n in range(units))
    return list(dispatch.run(Agenda.of(source, POLICY)))


def test_the_window_bounds_what_is_submitted() -> None:
    """Never more attempts than the window are in the air, and all units end."""
    port = PaperPort(quick)
    assert len(run(port, units=20, window=3)) == 20
    assert port.most == 3


def test_a_hanging_attempt_gets_company_and_the_first_answer_wins() -> None:
    """Ten seconds after it began, a unit expected to take one gets a new attempt, whose value counts."""
    port = PaperPort(lambda number: [(1.0, Begun("dead"))] if number == 0 else quick(number))
    (outcome,) = run(port)
    assert outcome.value == {"x": 1} and outcome.attempts == 2
    assert 11.0 < port.submitted[1] <= 12.0 + 1.0
    assert port.cancelled == [], "an attempt that has begun is left alone"


def test_the_slow_first_attempt_may_still_win() -> None:
    """If the old attempt answers before its company, its value counts and the company is unqueued."""
    port = PaperPort(lambda number: [(0.0, Begun("slow")), (15.0, GOOD)] if number == 0 else [])
    (outcome,) = run(port)
    assert outcome.value == {"x": 1} and outcome.attempts == 2
    assert port.cancelled == [(1, False)]


def test_silence_ends_as_a_machine_fault() -> None:
    """When every attempt allowed has begun and missed its deadline, the unit fails and names the workers."""
    port = PaperPort(lambda number: [(0.0, Begun(f"node-{number}"))])
    (outcome,) = run(port)
    assert outcome.fault is not None and outcome.fault.kind == "machine" and outcome.attempts == 3
    assert "node-0, node-1, node-2" in outcome.fault.message


def test_waiting_in_the_queue_is_no_fault() -> None:
    """On a busy cluster an attempt that begins after many deadlines is the only one, and gives the value."""
    port = PaperPort(lambda number: [(200.0, Begun("busy")), (201.0, GOOD)])
    port.room = False
    (outcome,) = run(port)
    assert outcome.fault is None and outcome.attempts == 1


def test_an_order_lost_on_its_way_is_repeated() -> None:
    """An attempt that does not begin although the cluster has room gets company after its deadline."""
    port = PaperPort(lambda number: [] if number == 0 else quick(number))
    (outcome,) = run(port)
    assert outcome.fault is None and outcome.attempts == 2
    assert port.cancelled == [(0, False)]


def test_orders_lost_for_ever_are_not_given_up() -> None:
    """Attempts that never begin are repeated as often as allowed, and then waited for."""
    port = PaperPort(lambda number: [] if number < 2 else [(500.0, Begun("node")), (501.0, GOOD)])
    (outcome,) = run(port)
    assert outcome.fault is None and outcome.attempts == 3


def test_beginning_gives_new_time() -> None:
    """An attempt that waited long in the queue has its whole deadline from the moment it begins."""
    port = PaperPort(lambda number: [(9.0, Begun("node")), (18.0, GOOD)])
    (outcome,) = run(port)
    assert outcome.attempts == 1


def test_beginning_late_gives_new_time_too() -> None:
    """An attempt that got company while waiting, and then begins, has its deadline before it gets more."""
    port = PaperPort(lambda number: [(15.0, Begun("node")), (24.0, GOOD)] if number == 0 else [])
    (outcome,) = run(port)
    assert outcome.fault is None and outcome.attempts == 2


def test_units_of_unknown_duration_have_no_deadline() -> None:
    """Without an expectation an attempt may take as long as it likes."""
    port = PaperPort(lambda number: [(0.0, Begun("node")), (9999.0, GOOD)])
    (outcome,) = run(port, expected_s=0.0)
    assert outcome.attempts == 1


def test_lost_attempts_are_submitted_again_after_a_pause() -> None:
    """A lost worker costs a pause and another attempt; the outcome says where the good one ran."""
    port = PaperPort(lambda number: [(1.0, lost("gone", 0.0, ""))] if number == 0 else quick(number))
    (outcome,) = run(port)
    assert (outcome.attempts, outcome.worker) == (2, "node")
    assert port.submitted[1] >= 2.0


def test_a_lost_attempt_is_described_by_what_we_knew() -> None:
    """A worker that died cannot say where and how long it ran: the driver fills that in."""
    port = PaperPort(lambda number: [(1.0, Begun(f"node-{number}")), (4.0, lost("gone", 0.0, ""))])
    (outcome,) = run(port)
    assert outcome.worker == "node-2" and outcome.elapsed_s == pytest.approx(3.0)


def test_a_unit_without_a_home_is_refused_at_once() -> None:
    """Before anything is submitted, a unit that no machine can hold is a ClusterError."""
    port = PaperPort(quick)
    port.homes = False
    with pytest.raises(ClusterError, match="paper"):
        run(port)
    assert port.submitted == {}


def test_a_lost_home_is_waited_for_then_named() -> None:
    """If the only machine that fits leaves while a unit waits, the run ends after a grace period."""
    port = PaperPort(lambda number: [])
    dispatch = Dispatch(port, Seats(port, 4), POLICY, 4, 30.0, clock=lambda: port.now, sleep=port.sleep)
    units = dispatch.run(Agenda.of([Unit("a", dict, {})], POLICY))

    def leave(handles: Sequence[Any], timeout_s: float) -> list[Any]:
        port.homes = False
        return PaperPort.wait(port, handles, timeout_s)

    port.wait = leave  # type: ignore[method-assign]
    with pytest.raises(ClusterError, match="has left the cluster"):
        next(units)
    assert 30.0 <= port.now <= 60.0
    assert port.cancelled == [(0, False)]


def test_a_home_that_left_is_waited_for_by_later_units_too() -> None:
    """A unit like one that had a home is not refused at once when that machine is away for a while."""
    port = PaperPort(lambda number: [(1.0, Begun("node")), (2.0, GOOD)] if number == 0 else [(25.0, GOOD)])
    dispatch = Dispatch(port, Seats(port, 1), POLICY, 1, 30.0, clock=lambda: port.now, sleep=port.sleep)
    outcomes = dispatch.run(Agenda.of((Unit(str(n), dict, {}) for n in range(2)), POLICY))
    next(outcomes)
    port.homes = False
    assert next(outcomes).fault is None


def test_closing_cancels_the_queued_and_hears_out_the_running() -> None:
    """On close, attempts not begun are taken out of the queue and those begun are waited for."""
    script = {0: quick(0), 1: [(0.0, Begun("node")), (7.0, GOOD)], 2: []}
    port = PaperPort(lambda number: list(script[number]))
    dispatch = Dispatch(port, Seats(port, 3), POLICY, 3, 30.0, clock=lambda: port.now, sleep=port.sleep)
    outcomes = dispatch.run(Agenda.of((Unit(str(n), dict, {}) for n in range(3)), POLICY))
    next(outcomes)
    outcomes.close()
    assert port.cancelled == [(2, False)]
    assert port.now == 7.0


def test_closing_does_not_wait_for_the_hanging() -> None:
    """On close, an attempt that hangs is waited for no longer than its deadline."""
    port = PaperPort(lambda number: quick(number) if number == 0 else [(0.0, Begun("dead"))])
    dispatch = Dispatch(port, Seats(port, 2), POLICY, 2, 30.0, clock=lambda: port.now, sleep=port.sleep)
    source = (Unit(str(n), dict, {}, expected_s=2.0) for n in range(2))
    outcomes = dispatch.run(Agenda.of(source, POLICY))
    next(outcomes)
    outcomes.close()
    assert 20.0 <= port.now <= 22.0


def test_interruption_kills_and_waits_for_nothing() -> None:
    """After Ctrl-C every attempt is killed and no time passes."""
    port = PaperPort(lambda number: [(0.0, Begun("node"))])
    dispatch = Dispatch(port, Seats(port, 2), POLICY, 2, 30.0, clock=lambda: port.now, sleep=port.sleep)

    def interrupt(handles: Sequence[Any], timeout_s: float) -> list[Any]:
        raise KeyboardInterrupt

    port.wait = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        next(dispatch.run(Agenda.of((Unit(str(n), dict, {}) for n in range(2)), POLICY)))
    assert port.cancelled == [(0, True), (1, True)] and port.now == 0.0


def test_a_lost_control_process_ends_the_run_at_once() -> None:
    """Once the control process is gone the run is a ClusterError that says so: nothing is waited for, and
    nobody is asked to cancel or to dismiss anything.
    """
    port = PaperPort(lambda number: [(0.0, Begun("node"))])
    seats = Seats(port, 4)
    dispatch = Dispatch(port, seats, POLICY, 4, 30.0, clock=lambda: port.now, sleep=port.sleep)
    units = (Unit(str(n), dict, {}, expected_s=1000.0, affinity="a" if n else "") for n in range(3))
    wait = port.wait

    def lose(handles: Sequence[Any], timeout_s: float) -> list[Any]:
        port.ended = port.now > 3.0
        return wait(handles, timeout_s)

    port.wait = lose  # type: ignore[method-assign]
    with pytest.raises(ClusterError, match="control process") as error:
        list(dispatch.run(Agenda.of(units, POLICY)))
    assert "same command" in error.value.hint and port.now < 10.0
    assert port.cancelled == [] and port.dismissed == [] and not seats.idle
