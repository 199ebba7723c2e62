"""The embedded Ray keeps to itself and leaves nothing behind, however its context is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster import guardian
from cluster.surroundings import Surroundings, missing_settings, settings_hint, single_threaded
from tests.helpers.processes import descendants, kill, wait_until_gone

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, os, signal, sys
from cluster.contract import Unit
from cluster.on_ray import RayExecutor
from tests.helpers.units import sleeps

def handler(number, frame):
    raise SystemExit(7)

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, handler)
    before = dict(os.environ)
    try:
        with RayExecutor(workers=2) as executor:
            print(json.dumps({"temp_dir": executor._surroundings.temp_dir}), flush=True)
            payload = {"directory": sys.argv[1], "seconds": 60.0}
            units = [Unit(str(n), sleeps, {**payload, "number": n}, affinity=sys.argv[2]) for n in range(4)]
            list(executor.run(units))
    finally:
        same = dict(os.environ) == before and signal.getsignal(signal.SIGTERM) is handler
        print(json.dumps({"restored": same}), flush=True)
"""


class Driver:
    """A program with an embedded Ray of its own."""

    def __init__(self, directory: Path, affinity: str, stderr: int | None = None) -> None:
        program, self.traces = directory / "program.py", directory / "traces"
        program.write_text(PROGRAM)
        self.traces.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", str(program), str(self.traces), affinity],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        assert self.process.stdout is not None
        self.temp_dir = Path(json.loads(self.process.stdout.readline())["temp_dir"])
        self.started = descendants(self.process.pid)

    def wait_for_units(self) -> None:
        """Until two units run."""
        until = time.monotonic() + 30
        while len(list(self.traces.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        self.started |= descendants(self.process.pid)

    def end(self) -> tuple[list[dict[str, object]], list[int]]:
        """What it said after the first line, and the processes that outlive it."""
        self.started |= descendants(self.process.pid)
        out, _ = self.process.communicate(timeout=60)
        left = wait_until_gone(self.started, 5.0)
        kill(self.started)
        return [json.loads(line) for line in out.splitlines()], left


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "affinity"),
    [(signal.SIGINT, ""), (signal.SIGTERM, ""), (signal.SIGINT, "a"), (signal.SIGTERM, "a")],
)
def test_signals_end_it_promptly_and_cleanly(number: signal.Signals, affinity: str, tmp_path: Path) -> None:
    """After Ctrl-C or SIGTERM nobody waits for units of a minute, be they tasks or in actors; no process or
    directory is left; variables and handlers are as before; nothing warned.
    """
    driver = Driver(tmp_path, affinity)
    driver.wait_for_units()
    sent = time.monotonic()
    driver.process.send_signal(number)
    said, left = driver.end()
    assert time.monotonic() - sent < 15.0
    assert said == [{"restored": True}] and left == []
    assert driver.process.returncode != 0
    assert not driver.temp_dir.exists()


@pytest.mark.slow
def test_a_killed_driver_leaves_nothing(tmp_path: Path) -> None:
    """After SIGKILL of the driver none of Ray's processes, its agents neither, and no directory is left."""
    driver = Driver(tmp_path, "")
    driver.wait_for_units()
    driver.process.kill()
    said, left = driver.end()
    assert said == [] and left == []
    until = time.monotonic() + 5
    while driver.temp_dir.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not driver.temp_dir.exists()


@pytest.mark.slow
def test_a_lost_control_process_is_said(tmp_path: Path) -> None:
    """When Ray's control process is killed the driver ends by itself, in our words, and leaves nothing."""
    driver = Driver(tmp_path, "", stderr=subprocess.PIPE)
    driver.wait_for_units()
    servers = [
        pid for pid in driver.started if b"gcs_server" in Path(f"/proc/{pid}/cmdline").read_bytes()[:200]
    ]
    os.kill(servers[0], signal.SIGKILL)
    sent = time.monotonic()
    assert driver.process.stderr is not None
    said_last = driver.process.stderr.read()
    said, left = driver.end()
    assert time.monotonic() - sent < 60.0 and said == [{"restored": True}] and left == []
    assert "Ray's control process (GCS) has ended" in said_last


def test_a_guardian_ends_what_holds_files_there_and_nothing_else(tmp_path: Path) -> None:
    """When the driver's end of the pipe closes, processes of its group with files in the directory are ended;
    others of the group, and readers of those files outside the group, are not.
    """
    (tmp_path / "ray").mkdir()
    log = (tmp_path / "ray" / "log").open("w+")
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with log:
        agent = subprocess.Popen(sleep, stdin=log)
        reader = subprocess.Popen(sleep, stdin=log, start_new_session=True)
    other = subprocess.Popen(sleep)
    try:
        posted = guardian.post(str(tmp_path / "ray"))
        time.sleep(0.3)
        assert agent.poll() is None
        guardian.dismiss(posted)
        assert posted.returncode == 0 and agent.wait(5) == -signal.SIGKILL
        assert reader.poll() is None and other.poll() is None and (tmp_path / "ray").exists()
    finally:
        for process in (agent, reader, other):
            process.kill()
            process.wait()


def test_surroundings_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that were set, unset or already changed are exactly as before, restored once or twice."""
    monkeypatch.setenv("RAY_DEDUP_LOGS", "1")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    before = dict(os.environ)
    surroundings = Surroundings()
    directory = Path(surroundings.prepare())
    assert os.environ["RAY_DEDUP_LOGS"] == "0" and os.environ["RAY_AUTH_MODE"] == "token"
    assert directory.is_dir() and len(str(directory)) < 40
    os.environ["PYTHONBREAKPOINT"] = "set by Ray"
    surroundings.restore()
    surroundings.restore()
    assert dict(os.environ) == before and not directory.exists()


def test_what_a_killed_driver_left_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old directories that nobody holds are removed; held, young and foreign ones stay."""
    monkeypatch.setattr("cluster.surroundings._short_directory", lambda: str(tmp_path))
    living, old = Surroundings(), time.time() - 3600
    for name in ("mscale-dead", "mscale-young", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log").touch()
    held = Path(living.prepare())
    for path in (held, tmp_path / "mscale-dead", tmp_path / "other"):
        os.utime(path, (old, old))
    newcomer = Surroundings()
    newcomer.prepare()
    assert not (tmp_path / "mscale-dead").exists()
    assert held.exists() and (tmp_path / "mscale-young").exists() and (tmp_path / "other" / "log").exists()
    newcomer.restore()
    living.restore()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mscale-young", "other"]


def test_a_token_the_user_chose_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """An explicit token of the environment is used; without one each process has its own."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "chosen")
    surroundings = Surroundings()
    surroundings.prepare()
    assert os.environ["RAY_AUTH_TOKEN"] == "chosen"
    surroundings.restore()
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    surroundings.prepare()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    surroundings.restore()


def test_a_busy_machine_has_three_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedded Ray waits three minutes for its control process, not one, unless the user says how long."""
    name = "RAY_gcs_rpc_server_reconnect_timeout_s"
    monkeypatch.delenv(name, raising=False)
    surroundings = Surroundings()
    surroundings.prepare()
    assert os.environ[name] == "180"
    surroundings.restore()
    assert name not in os.environ
    monkeypatch.setenv(name, "7")
    surroundings.prepare()
    assert os.environ[name] == "7"
    surroundings.restore()


def test_threads_are_one_only_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes started inside inherit one thread; afterwards the variables are the caller's again."""
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with single_threaded():
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "5" and "MKL_NUM_THREADS" not in os.environ


def test_the_hint_sets_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doing what the hint says leaves nothing missing."""
    assert missing_settings()
    command, *settings = settings_hint().split()
    assert command == "export"
    for setting in settings:
        monkeypatch.setenv(*setting.split("=", 1))
    assert missing_settings() == ()
