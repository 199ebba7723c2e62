"""The executor on Ray: an embedded Ray on this machine, or a running cluster that it joins.

Units are core tasks, or calls of actors where they have an affinity (ray_port.py); Ray never retries them by
itself (retry.py and dispatch.py do, by rules of our own). Ray is imported when the context is entered, never
before: it reads its environment at import. It knows nothing of what units do, and never stops a cluster that
it joined.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from types import TracebackType
from typing import Self

from cluster.agenda import Agenda
from cluster.connection import (
    LOOPBACK_SWITCH,
    join,
    reread_environment,
    start,
    warn_of_missing_settings,
)
from cluster.contract import ClusterError, Outcome, Unit
from cluster.dispatch import Dispatch
from cluster.ray_port import RayPort
from cluster.retry import Policy
from cluster.seats import Seats
from cluster.surroundings import RAYS_OWN_VARIABLES, Surroundings, missing_settings, single_threaded

OBJECT_STORE_BYTES = 100 << 20  # payloads and values are small; Ray refuses less than about 75 MiB
HOME_WAIT_S = 120.0  # how long a unit may wait for the only machine that fits it to come back


class RayExecutor:
    """Runs units as Ray tasks; those with an affinity in actors, of which there are at most `workers`.

    Actors stay until the context is left, or until other units want what they occupy: a later run finds what
    they have loaded.

    `address=None` starts an embedded Ray inside the context: loopback only, `workers` CPUs (default: this
    process's cores), `gpus` GPUs (default: those Ray finds), `memory_bytes` of logical memory (default:
    Ray's), stopped at the end. With an address ("auto", "10.0.0.1:6379") it joins that cluster, uses all
    its CPUs or `workers` of them, and leaves it running.

    Raises:
        ClusterError: on entering, when Ray cannot start or be joined; from `run`, for a unit that no node
        can hold.
    """

    name = "ray"

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        *,
        gpus: int | None = None,
        memory_bytes: int | None = None,
        policy: Policy | None = None,
        home_wait_s: float = HOME_WAIT_S,
    ) -> None:
        self.address = address
        self.workers = workers or len(os.sched_getaffinity(0))
        self._asked, self._gpus, self._memory_bytes = workers, gpus, memory_bytes
        self._policy, self._home_wait_s = policy or Policy(), home_wait_s
        self._surroundings = Surroundings()
        self._port: RayPort | None = None
        self._seats: Seats | None = None
        self._latest: Callable[[], Generator[Outcome, None, None] | None] = lambda: None
        self._dispatch: Dispatch | None = None

    def __enter__(self) -> Self:
        ray = sys.modules.get("ray")
        if ray is not None and ray.is_initialized():
            raise ClusterError("this process is connected to Ray already", "leave that connection first")
        missing = () if self.address is None else missing_settings()
        if missing:
            warn_of_missing_settings("this process", missing)
        try:
            if self.address is None:
                self._start()
            else:
                self._join(self.address)
            self._port = RayPort(embedded=self.address is None, warned=bool(missing))
        except BaseException:
            self._stop()
            raise
        self.workers = self._asked or max(1, int(self._port.cpus()))
        self._seats = Seats(self._port, self.workers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave or stop Ray; kill what runs after Ctrl-C or a request to exit, else wait for it."""
        try:
            if kind is not None and not issubclass(kind, Exception) and self._dispatch is not None:
                self._dispatch.abandon()
            latest = self._latest()
            if latest is not None:
                latest.close()
            if self._seats is not None:
                self._seats.end_all()
        finally:
            self._port = self._seats = self._dispatch = None
            self._stop()

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        """One outcome a unit, as they finish. Closing early unqueues what waits and waits for what runs."""
        if self._port is None or self._seats is None:
            raise ClusterError("Ray is not running", "use it as a context: `with RayExecutor() as executor:`")
        if self._dispatch is not None and self._dispatch.busy:
            raise ClusterError("this executor is running other units", "finish or close that iterator first")
        # A few more than can run are queued, so that no CPU waits for the driver's next order.
        window = self.workers if self._asked and self.address else self.workers + max(2, self.workers // 8)
        self._dispatch = Dispatch(self._port, self._seats, self._policy, window, self._home_wait_s)
        outcomes = self._dispatch.run(Agenda.of(units, self._policy))
        self._latest = weakref.ref(outcomes)  # weak: an iterator that its reader drops must close itself
        return outcomes

    def _start(self) -> None:
        temp_dir = self._surroundings.prepare()
        import ray

        with single_threaded():
            start(
                ray,
                num_cpus=self.workers,
                num_gpus=self._gpus,
                _memory=self._memory_bytes,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                _temp_dir=temp_dir,
                _node_ip_address="127.0.0.1",
            )

    def _join(self, address: str) -> None:
        self._surroundings.remember((*RAYS_OWN_VARIABLES, LOOPBACK_SWITCH))
        import ray

        join(ray, address)

    def _stop(self) -> None:
        import ray

        try:
            ray.shutdown()
        finally:
            self._surroundings.restore()
            reread_environment(ray)
