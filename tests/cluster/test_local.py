"""What is particular to the local executor: lanes, budgets, children and Ctrl-C."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import pytest

from cluster.contract import ClusterError, Resources, Unit
from cluster.local import LocalExecutor
from tests.helpers.processes import descendants, wait_until_gone
from tests.helpers.units import attempts, chatty, double, sleeps

ROOT = Path(__file__).parents[2]


def test_memory_bounds_what_runs_together(tmp_path: Path) -> None:
    """Two units that need more than half the memory each never overlap, although two workers are free."""
    payload = {"directory": str(tmp_path), "seconds": 0.1}
    with LocalExecutor(2, memory_bytes=100) as executor:
        units = [Unit(str(n), sleeps, {**payload, "number": n}, Resources(memory_bytes=60)) for n in range(3)]
        spans = sorted((o.value["begun"], o.value["ended"]) for o in executor.run(units) if o.value)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_too_much_memory_is_refused() -> None:
    """A unit that needs more memory than the executor has is a ClusterError with both figures."""
    with (
        LocalExecutor(1, memory_bytes=1000) as executor,
        pytest.raises(ClusterError, match=r"1,001 .* 1,000"),
    ):
        list(executor.run([Unit("u", double, {"number": 1}, Resources(memory_bytes=1001))]))


@pytest.mark.parametrize(
    ("needs", "hint"),
    [
        (Resources(cpus=2.0), "raise --workers"),
        (Resources(gpus=1.0), "GPUs: --address"),
        (Resources(memory_bytes=1001), "free memory"),
    ],
)
def test_the_hint_is_about_what_is_lacking(needs: Resources, hint: str) -> None:
    """Whichever command runs the unit, what it is told to do is possible there and mends what lacks."""
    with LocalExecutor(1, memory_bytes=1000) as executor, pytest.raises(ClusterError) as error:
        list(executor.run([Unit("u", double, {"number": 1}, needs)]))
    assert hint in error.value.hint and "--memory" not in error.value.hint


def test_small_units_keep_to_the_workers(tmp_path: Path) -> None:
    """However little of a CPU units need, one worker runs one at a time, and shares add up exactly."""
    payload = {"directory": str(tmp_path), "seconds": 0.02}
    units = [Unit(str(n), sleeps, {**payload, "number": n}, Resources(cpus=0.1)) for n in range(10)]
    with LocalExecutor(1) as executor:
        spans = sorted((o.value["begun"], o.value["ended"]) for o in executor.run(units) if o.value)
        assert len(spans) == 10
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
        whole = executor.run([Unit("whole", double, {"number": 1}, Resources(cpus=1.0))])
        assert [outcome.fault for outcome in whole] == [None]


def test_no_workers_are_refused() -> None:
    """An executor without workers would wait for ever: it cannot be made."""
    with pytest.raises(ClusterError, match="at least one worker"):
        LocalExecutor(0)


def test_units_in_children_have_one_thread_a_cpu() -> None:
    """A child process tells numeric libraries to use as many threads as the unit has CPUs."""
    with LocalExecutor(2, "process") as executor:
        for cpus, threads in ((0.5, "1"), (2, "2"), (1, "1")):
            (outcome,) = executor.run([Unit("u", double, {"number": 1}, Resources(cpus=cpus))])
            assert outcome.value is not None and outcome.value["OMP_NUM_THREADS"] == threads


def test_children_end_with_the_executor() -> None:
    """No child outlives the context."""
    with LocalExecutor(2, "process") as executor:
        outcomes = list(executor.run(Unit(str(n), double, {"number": n}) for n in range(6)))
        pids = {outcome.value["pid"] for outcome in outcomes if outcome.value}
        children = {pid: start for pid, start in descendants(os.getpid()).items() if pid in pids}
        assert len(children) == len(pids) >= 1
    assert wait_until_gone(children, 0.0) == []


def test_what_units_print_stays_off_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output belongs to the command: what a unit in a child prints goes to stderr."""
    with LocalExecutor(1, "process") as executor:
        list(executor.run([Unit("u", chatty, {})]))
    out, err = capfd.readouterr()
    assert out == "" and "a line on stdout" in err


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_interruption_between_outcomes_waits_for_nothing(
    kind: Literal["thread", "process"], tmp_path: Path
) -> None:
    """Ctrl-C while the reader handles an outcome leaves the context without waiting for what still runs."""
    seconds = {"quick": 0.0, "slow": 5.0}
    units = [
        Unit(name, sleeps, {"directory": str(tmp_path), "number": n, "seconds": seconds[name]})
        for n, name in enumerate(seconds)
    ]
    with pytest.raises(KeyboardInterrupt), LocalExecutor(2, kind) as executor:
        outcomes = executor.run(units)
        assert next(outcomes).unit_id == "quick"
        interrupted = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - interrupted < 3.0


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_interruption_ends_promptly(kind: str, tmp_path: Path) -> None:
    """Ctrl-C ends a program whose units would run for a minute, before they do and without a child left."""
    script = (
        "import sys\nfrom cluster.contract import Unit\nfrom cluster.local import LocalExecutor\n"
        "from tests.helpers.units import sleeps\n"
        "if __name__ == '__main__':\n"
        "    payload = {'directory': sys.argv[1], 'seconds': 60}\n"
        "    with LocalExecutor(2, sys.argv[2]) as executor:\n"
        "        list(executor.run(Unit(str(n), sleeps, {**payload, 'number': n}) for n in range(9)))\n"
    )
    program = tmp_path / "program.py"
    program.write_text(script)
    traces = tmp_path / "traces"
    traces.mkdir()
    command = [sys.executable, str(program), str(traces), kind]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as child:
        until = time.monotonic() + 30
        while not (attempts(traces, 0) and attempts(traces, 1)) and time.monotonic() < until:
            time.sleep(0.05)
        started = descendants(child.pid)
        interrupted = time.monotonic()
        child.send_signal(signal.SIGINT)
        child.wait(timeout=50)
    assert time.monotonic() - interrupted < 30.0, "half of what a unit would run"
    assert child.returncode not in (0, None)
    assert wait_until_gone(started, 20.0) == []
    assert len(list(traces.iterdir())) == 2, "no unit began after the interruption"
