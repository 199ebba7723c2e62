"""The placement rule, by cases and by simulating workers that take different times."""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Iterable

import pytest

from cluster.agenda import Agenda
from cluster.attempt import Result
from cluster.contract import Unit
from cluster.placing import Job, Ready, place
from cluster.retry import Policy

GOOD = Result({}, None, 0.0, "here")


def jobs(*affinities: str) -> Ready:
    """Ready jobs with these affinities, in this order."""
    ready = Ready()
    for number, affinity in enumerate(affinities):
        ready.add(Job(Unit(str(number), dict, {}, affinity=affinity), number))
    return ready


def chosen(ready: Ready, free: list[str], held: Iterable[str] = ()) -> tuple[int, int] | None:
    """(worker, number of the job) that the rule gives."""
    choice = place(ready, free, {*free, *held})
    return None if choice is None else (choice[0], choice[1].number)


def test_what_a_worker_holds_comes_first() -> None:
    """The free worker that holds a ready affinity takes it, before others and before older jobs."""
    assert chosen(jobs("", "a", "b"), ["", "c", "b"]) == (2, 2)


def test_then_what_nobody_holds() -> None:
    """Else the preferred free worker takes the oldest job that is plain or of an affinity nobody holds."""
    assert chosen(jobs("a", "b", ""), ["c"], ["a"]) == (0, 1)
    assert chosen(jobs("a", "", "b"), ["c"], ["a"]) == (0, 1)
    assert chosen(jobs("a", "a"), ["", "c"]) == (0, 0)


def test_then_stealing_from_the_most() -> None:
    """When all affinities are held by busy workers, a free one steals where most is left."""
    assert chosen(jobs("a", "b", "b", "c"), [""], ["a", "b", "c"]) == (0, 1)


def test_nothing_ready_or_nobody_free() -> None:
    """Without a ready job, or without a free worker, nothing is placed."""
    assert chosen(jobs(), ["a"]) is None and chosen(jobs("a"), [], ["a"]) is None


def test_a_job_put_back_is_first() -> None:
    """A job for another try goes before all that are ready, whether its worker still lives or not."""
    ready = jobs("a", "b", "", "b")
    again = ready.first("b")
    assert again is not None
    ready.remove(again)
    ready.put_back(again)
    assert chosen(ready, ["b"]) == (0, 1)
    assert chosen(ready, [""], ["a"]) == (0, 1)


def simulate(units: list[Unit], workers: int, seed: int) -> tuple[int, list[Unit]]:
    """(Loads, units in the order they began) of workers that take different times. No worker may idle while a
    unit is ready.
    """
    dice = random.Random(seed)
    agenda = Agenda.of(units, Policy())
    holds, free = [""] * workers, list(range(workers))
    loads, now = 0, 0.0
    began: list[Unit] = []
    busy: list[tuple[float, int, Job]] = []
    while True:
        while choice := place(agenda.ready(now), [holds[worker] for worker in free], set(holds)):
            worker, job = free.pop(choice[0]), choice[1]
            agenda.begin(job)
            loads += job.unit.affinity not in ("", holds[worker])
            holds[worker] = job.unit.affinity or holds[worker]
            began.append(job.unit)
            heapq.heappush(busy, (now + dice.expovariate(1.0), worker, job))
        assert not free or not len(agenda.ready(now)), "a worker idles"
        if not busy:
            return loads, began
        now, worker, job = heapq.heappop(busy)
        free.append(worker)
        agenda.end(job, GOOD, now)


def in_order(began: list[Unit]) -> bool:
    """Whether units of each affinity, named by their place, began in their order."""
    places: dict[str, list[int]] = {}
    for unit in began:
        places.setdefault(unit.affinity, []).append(int(unit.id))
    return all(found == sorted(found) for found in places.values())


@pytest.mark.parametrize("order", ["model", "task"])
@pytest.mark.parametrize("seed", range(20))
def test_two_workers_load_each_model_once(order: str, seed: int) -> None:
    """Of 8 models x 5 tasks, whichever varies fastest, two workers load each once, and at most one twice."""
    affinities = [f"m{number // 5 if order == 'model' else number % 8}" for number in range(40)]
    loads, began = simulate([Unit(str(n), dict, {}, affinity=a) for n, a in enumerate(affinities)], 2, seed)
    assert 8 <= loads <= 9
    assert sorted(int(unit.id) for unit in began) == list(range(40)) and in_order(began)


@pytest.mark.parametrize("seed", range(20))
def test_mixed_units_all_run_in_order(seed: int) -> None:
    """Any mixture on any number of workers runs each unit once, in order in its kind, and nobody idles."""
    dice = random.Random(seed)
    names = ["", *(f"m{n}" for n in range(dice.randint(1, 12)))]
    units = [Unit(str(n), dict, {}, affinity=dice.choice(names)) for n in range(300)]
    _, began = simulate(units, dice.randint(1, 6), seed)
    assert sorted(int(unit.id) for unit in began) == list(range(300)) and in_order(began)


def test_many_plain_units_cost_little() -> None:
    """A hundred thousand units without affinity are placed in about the time a unit that a thousand take."""

    def seconds_a_unit(count: int) -> float:
        agenda = Agenda.of((Unit(str(n), dict, {}) for n in range(count)), Policy())
        begun = time.process_time()
        while choice := place(agenda.ready(0), [""], {""}):
            agenda.begin(choice[1])
            agenda.end(choice[1], GOOD, 0)
        return (time.process_time() - begun) / count

    assert seconds_a_unit(100_000) < 5 * max(seconds_a_unit(1000), 2e-6)
