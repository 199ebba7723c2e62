"""The places where LocalExecutor runs units: one daemon thread a lane, each with a spawned child when asked.

A lane runs one attempt at a time and reports it; it decides nothing. Threads are daemons so that Ctrl-C
ends the program without waiting for a unit; children are killed by pid, and none outlives this process.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import signal
import socket
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue

from cluster.attempt import Result, attempt, attempt_bytes, fault_of, lost, unpacked, use_threads
from cluster.contract import ClusterError
from cluster.placing import Job

HOST = socket.gethostname()
STOP_WAIT_S = 5.0
READY = b"ready"


class ThreadLane:
    """Runs units in its own thread of this process. Results go to the queue given at construction.

    `affinity` is the last one that it ran: what its worker has loaded.
    """

    def __init__(self, number: int, results: SimpleQueue[tuple[Job, Result]]) -> None:
        self.worker = f"{HOST}:{os.getpid()}:{number}"
        self.affinity = ""
        self._results = results
        self._inbox: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=f"lane-{number}", daemon=True)
        self._thread.start()

    def begin(self, job: Job) -> None:
        """Start one attempt; the lane must be free."""
        self.affinity = job.unit.affinity or self.affinity
        self._inbox.put(job)

    def stop(self) -> None:
        """Let the current unit end, then end the lane."""
        self._inbox.put(None)
        self._thread.join()

    def kill(self) -> None:
        """End the lane without waiting. A unit in a thread cannot be interrupted: it runs on, unheard."""
        self._inbox.put(None)

    def _serve(self) -> None:
        while (job := self._inbox.get()) is not None:
            try:
                result = self._attempt(job)
            except Exception as error:  # noqa: BLE001 -- a silent lane would be waited for
                result = Result(None, fault_of(error), 0.0, self.worker)
            self._results.put((job, result))

    def _attempt(self, job: Job) -> Result:
        return attempt(job.unit.function, job.unit.payload, self.worker)


class ProcessLane(ThreadLane):
    """Runs units in a spawned child process, replaced whenever it dies. Units and values are pickled."""

    def __init__(self, number: int, results: SimpleQueue[tuple[Job, Result]]) -> None:
        self._child: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._killed, self._fresh = False, True
        super().__init__(number, results)

    def stop(self) -> None:
        """Let the current unit end, then end the lane and its child."""
        super().stop()
        self._end_child()

    def kill(self) -> None:
        """Kill the child at once; its unit, if any, is gone."""
        self._killed = True
        super().kill()
        self._kill_child()

    def _attempt(self, job: Job) -> Result:
        begun = time.monotonic()
        order = pickle.dumps((job.unit.function, job.unit.payload))
        child, pipe = self._living_child()
        if self._fresh:  # whatever an earlier child had loaded is gone
            self.affinity = job.unit.affinity
        worker = f"{HOST}:{child.pid}"
        ready = False
        try:
            ready = pipe.recv_bytes() == READY if self._fresh else True
            self._fresh = False
            pipe.send((order, job.unit.resources.cpus))
            return unpacked(pipe.recv_bytes(), worker)
        except (EOFError, OSError):
            self._end_child()
            how = _how_it_ended(child.exitcode)
            if not ready and child.exitcode is not None and child.exitcode > 0:
                raise ClusterError(
                    f"a worker process cannot start: it {how}",
                    "read its message on stderr; a script that runs units needs `if __name__ == '__main__':`",
                ) from None
            self.affinity = ""
            return lost(f"worker process {child.pid} {how}", time.monotonic() - begun, worker)

    def _living_child(self) -> tuple[SpawnProcess, Connection]:
        if self._child is not None and self._pipe is not None and self._child.is_alive():
            return self._child, self._pipe
        self._end_child()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(target=_serve_child, args=(theirs,), name=self._thread.name)
        self._fresh = True
        self._child.start()
        theirs.close()
        atexit.register(self._kill_child)
        if self._killed:
            self._kill_child()
        return self._child, self._pipe

    def _kill_child(self) -> None:
        child = self._child
        if child is not None and child.is_alive():
            child.kill()
            child.join(STOP_WAIT_S)

    def _end_child(self) -> None:
        """Close the pipe, which tells a living child to leave; kill it when it does not."""
        if self._pipe is not None:
            self._pipe.close()
        if self._child is not None:
            self._child.join(STOP_WAIT_S)
            self._kill_child()
        atexit.unregister(self._kill_child)
        self._child = self._pipe = None


def _serve_child(pipe: Connection) -> None:
    """The child's main loop: orders in, answers out, until the pipe closes.

    Ctrl-C is the parent's affair. Standard output belongs to the command's data, so what units print goes
    to stderr.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)
    worker = f"{HOST}:{os.getpid()}"
    pipe.send_bytes(READY)
    while True:
        try:
            order, cpus = pipe.recv()
            use_threads(cpus)
            pipe.send_bytes(attempt_bytes(order, worker))
        except (EOFError, OSError):
            return


def _how_it_ended(exitcode: int | None) -> str:
    if exitcode is None:
        return "stopped answering"
    if exitcode < 0:
        return f"was killed by signal {-exitcode} ({signal.Signals(-exitcode).name})"
    return f"ended with exit code {exitcode}"
