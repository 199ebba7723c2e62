"""Units that want what a worker has loaded, on threads, processes and an embedded Ray alike."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cluster.contract import Executor, Outcome, Resources, Unit
from cluster.ray_port import _Server
from tests.helpers.units import attempts, double, loads, meets, sleeps


def unit(name: str, cpus: float = 1.0, **payload: Any) -> Unit:
    """`a.3` wants model a."""
    model = name.partition(".")[0]
    return Unit(name, loads, {"model": model, **payload}, Resources(cpus), affinity=model)


def loaded(outcomes: Iterable[Outcome]) -> int:
    """How often any worker has loaded something for these units."""
    values = [outcome.value for outcome in outcomes]
    assert all(value is not None for value in values)
    return len({(value["pid"], value["thread"], value["loads"]) for value in values if value})


def test_each_model_is_loaded_once(executor: Executor) -> None:
    """Of 8 models x 5 tasks on two workers each model is loaded once, save the last, which may be twice."""
    units = [unit(f"once-{m}.{t}", seconds=0.01 * ((3 * m + t) % 4)) for m in range(8) for t in range(5)]
    outcomes = list(executor.run(units))
    assert sorted(outcome.unit_id for outcome in outcomes) == sorted(unit.id for unit in units)
    assert 8 <= loaded(outcomes) <= 9


def test_a_later_run_finds_what_is_loaded(executor: Executor) -> None:
    """Two workers that hold a model each are given the units of those models in the next run."""
    outcomes = list(executor.run([unit("later-a.0"), unit("later-b.0")]))
    outcomes += executor.run([unit("later-b.1"), unit("later-a.1")])
    assert loaded(outcomes) == 2


def test_no_worker_idles_for_an_affinity(executor: Executor, tmp_path: Path) -> None:
    """Two units of one affinity that wait for each other both end: the second worker takes one of them."""
    payload = {"directory": str(tmp_path)}
    units = [Unit(str(n), meets, {**payload, "number": n}, affinity="met") for n in range(2)]
    assert [outcome.fault for outcome in executor.run(units)] == [None, None]


def test_units_with_and_without_affinity_share_the_workers(executor: Executor) -> None:
    """Any order of units with affinity, without, and of two CPUs ends, in one run and in the following."""
    plain = [Unit(f"x{n}", double, {"number": n}) for n in range(6)]
    some, big = [unit(f"share-{n % 3}.{n}") for n in range(6)], [unit(f"big.{n}", cpus=2) for n in range(2)]
    for units in ([*some, *plain, *big], [*plain, *some]):
        outcomes = list(executor.run(units))
        assert {outcome.unit_id for outcome in outcomes} == {unit.id for unit in units}
        assert all(outcome.fault is None and outcome.attempts == 1 for outcome in outcomes)


def test_a_killed_worker_loads_again(isolated: Executor, tmp_path: Path) -> None:
    """When the process that holds a model is killed in the middle of a unit, that unit and all others of the
    model run in a new process.
    """
    units = [unit(f"killed.{n}", directory=str(tmp_path), number=n, dies=n == 1) for n in range(4)]
    outcomes = {outcome.unit_id: outcome for outcome in isolated.run(units)}
    assert all(outcome.fault is None for outcome in outcomes.values())
    assert outcomes["killed.1"].attempts == attempts(tmp_path, 1) == 2
    assert [outcomes[f"killed.{n}"].attempts for n in (0, 2, 3)] == [1, 1, 1]


class Unmade(_Server):
    """An actor on a machine that lacks our code."""

    def __init__(self, hide_gpus: bool) -> None:
        raise ImportError("no module named cluster")


@pytest.mark.parametrize("executor", ["ray"], indirect=True)
def test_an_actor_that_cannot_be_made_is_a_program_fault(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no actor can start, its unit fails once, with the cause and where to look; others run."""
    monkeypatch.setattr("cluster.ray_port._Server", Unmade)
    outcomes = {
        o.unit_id: o for o in executor.run([unit("unmade.0", cpus=0.5), Unit("made", double, {"number": 1})])
    }
    fault = outcomes["unmade.0"].fault
    assert fault is not None and fault.kind == "program" and outcomes["unmade.0"].attempts == 1
    assert outcomes["made"].fault is None
    assert "no module named cluster" in fault.message and "mergescale cluster check" in fault.message


def test_an_outcome_names_the_worker(isolated: Executor) -> None:
    """The worker of a unit with affinity is named by its process, as of any unit."""
    (outcome,) = isolated.run([unit("named.0")])
    assert outcome.value is not None and outcome.worker.endswith(f":{outcome.value['pid']}")
    assert outcome.elapsed_s >= 0


def test_closing_early_starts_no_more_and_waits(executor: Executor, tmp_path: Path) -> None:
    """After close no unit with affinity begins, none still runs, and the executor goes on."""
    payload = {"directory": str(tmp_path), "seconds": 0.3}
    outcomes = executor.run(
        Unit(str(n), sleeps, {**payload, "number": n}, affinity=f"closed-{n % 3}") for n in range(50)
    )
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]  # executors return generators
    begun = len(list(tmp_path.iterdir()))
    assert begun <= 4
    (late,) = executor.run([Unit("late", sleeps, {**payload, "number": 99}, affinity="closed-0")])
    assert late.fault is None
    assert len(list(tmp_path.iterdir())) == begun + 1
