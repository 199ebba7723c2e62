"""The executor on Ray: an embedded Ray on this machine, or a running cluster that it joins.

Units are core tasks that Ray never retries by itself (retry.py and dispatch.py do, by rules of our own),
bounded by their resources. Ray is imported when the context is entered, never before: it reads its
environment at import. It knows nothing of what units do, and never stops a cluster that it joined.
"""

from __future__ import annotations

import os
import socket
import sys
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from cluster.agenda import Agenda
from cluster.attempt import THREAD_VARIABLES, Result, attempt_bytes, fault_of, lost, unpacked
from cluster.connection import (
    LOOPBACK_SWITCH,
    first_line,
    join,
    reread_environment,
    start,
    warn_of_missing_settings,
)
from cluster.contract import ClusterError, Outcome, Resources, Unit
from cluster.dispatch import Begun, Dispatch
from cluster.retry import Policy
from cluster.surroundings import RAYS_OWN_VARIABLES, Surroundings, missing_settings, single_threaded

OBJECT_STORE_BYTES = 100 << 20  # payloads and values are small; Ray refuses less than about 75 MiB
FETCH_S = 60.0
HERE = f"{socket.gethostname()}:{os.getpid()}"
HOME_WAIT_S = 120.0  # how long a unit may wait for the only machine that fits it to come back


class RayExecutor:
    """Runs units as Ray tasks.

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
        finally:
            self._port = self._dispatch = None
            self._stop()

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        """One outcome a unit, as they finish. Closing early unqueues what waits and waits for what runs."""
        if self._port is None:
            raise ClusterError("Ray is not running", "use it as a context: `with RayExecutor() as executor:`")
        if self._dispatch is not None and self._dispatch.busy:
            raise ClusterError("this executor is running other units", "finish or close that iterator first")
        # A few more than can run are queued, so that no CPU waits for the driver's next order.
        window = self.workers if self._asked and self.address else self.workers + max(2, self.workers // 8)
        self._dispatch = Dispatch(self._port, self._policy, window, self._home_wait_s)
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


@dataclass(frozen=True)
class _Unsent:
    """The handle of an attempt that never left this process."""

    result: Result


class RayPort:
    """Dispatch's way to a connected Ray. A handle is a stream of two messages: begun, then the result."""

    def __init__(self, *, embedded: bool, warned: bool) -> None:
        import ray

        self._ray, self._embedded = ray, embedded
        self._warned = embedded or warned
        self._tasks: dict[Resources, Any] = {}
        self._nodes = self._alive_nodes()

    def cpus(self) -> float:
        """CPUs of all nodes that are alive."""
        return float(sum(node.get("CPU", 0.0) for node in self._nodes))

    def submit(self, unit: Unit) -> Any:
        """Queue one attempt."""
        try:
            order = self._ray.cloudpickle.dumps((unit.function, unit.payload))
        except Exception as error:  # noqa: BLE001 -- whatever pickling raises is the unit's fault
            return _Unsent(Result(None, fault_of(error, "program"), 0.0, HERE))
        if unit.resources not in self._tasks:
            self._tasks[unit.resources] = self._task(unit.resources)
        return self._tasks[unit.resources].remote(order, unit.resources.gpus == 0)

    def wait(self, handles: Sequence[Any], timeout_s: float) -> list[Any]:
        """Streams with a message to read: all there are, once there is one."""
        unsent = [handle for handle in handles if isinstance(handle, _Unsent)]
        if unsent:
            return unsent
        ready, _ = self._ray.wait(list(handles), num_returns=1, timeout=timeout_s)
        if ready and len(handles) > 1:
            ready, _ = self._ray.wait(list(handles), num_returns=len(handles), timeout=0)
        return list(ready)

    def news(self, handle: Any) -> Begun | Result:
        """The stream's next message; whatever Ray raises instead becomes a fault."""
        if isinstance(handle, _Unsent):
            return handle.result
        exceptions = self._ray.exceptions
        try:
            message = self._ray.get(next(handle), timeout=FETCH_S)
        except StopIteration:
            return lost("the attempt ended without an answer", 0.0, "")
        except exceptions.LocalRayletDiedError as error:
            raise ClusterError(f"Ray on this machine has died: {first_line(error)}", _CONTINUE) from error
        except exceptions.RayTaskError as error:  # not the unit's: ours could not run there at all
            fault = fault_of(getattr(error, "cause", None) or error, "program")
            return Result(None, replace(fault, message=f"{fault.message} ({_NOT_THERE})"), 0.0, "")
        except (exceptions.ObjectStoreFullError, exceptions.OutOfDiskError) as error:
            return Result(None, fault_of(error, "program"), 0.0, "")
        except exceptions.RayError as error:
            return lost(f"{type(error).__name__}: {first_line(error)}", 0.0, "")
        if isinstance(message, bytes):
            return unpacked(message, "")
        worker, missing = message
        if missing and not self._warned:
            self._warned = True
            warn_of_missing_settings(f"the node of {worker}", missing)
        return Begun(worker)

    def cancel(self, handle: Any, *, force: bool) -> None:
        """Take the task out of Ray's queue; with `force`, kill its worker."""
        if not isinstance(handle, _Unsent):
            self._ray.cancel(handle, force=force)

    def has_home(self, needs: Resources) -> bool:
        """Whether a node that is alive has all this at once."""
        self._nodes = self._alive_nodes()
        return any(_covers(node, needs) for node in self._nodes)

    def has_room(self, needs: Resources) -> bool:
        """Whether the cluster as a whole has this free; a fair guess for one node, and cheap."""
        return _covers(self._ray.available_resources(), needs)

    def describe(self) -> str:
        """`2 x (8 CPUs, 1 GPUs, 60.1 GiB)`."""
        kinds: dict[str, int] = {}
        for node in self._nodes:
            cpus, gpus, memory = (node.get(name, 0.0) for name in ("CPU", "GPU", "memory"))
            text = f"{cpus:g} CPUs, {gpus:g} GPUs, {memory / 2**30:.1f} GiB"
            kinds[text] = kinds.get(text, 0) + 1
        return "; ".join(f"{count} x ({text})" for text, count in kinds.items()) or "no node is alive"

    def _alive_nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _task(self, needs: Resources) -> Any:
        """The remote function for units with these needs.

        SPREAD, because units read and write files themselves: what they compete for is each node's disk and
        network. A GPU unit gets a process of its own (Ray's rule, max_calls=1): a process stays on the GPU
        that it saw first.
        """
        options: dict[str, Any] = {
            "max_retries": 0,
            "num_returns": "streaming",
            "scheduling_strategy": "SPREAD",
        }
        options |= {"num_cpus": needs.cpus, "num_gpus": needs.gpus}
        if needs.memory_bytes:
            options["memory"] = needs.memory_bytes
        variables: dict[str, str] = {}
        if not self._embedded or needs.cpus >= 2:
            variables |= dict.fromkeys(THREAD_VARIABLES, str(max(1, int(needs.cpus))))
        if needs.gpus == 0 and any(node.get("GPU", 0) for node in self._nodes):
            variables["CUDA_VISIBLE_DEVICES"] = ""  # Ray hides nothing from a task that asked for no GPU
        if variables:
            options["runtime_env"] = {"env_vars": variables}
        serve = self._ray.remote(num_gpus=1, max_calls=1)(_serve) if needs.gpus else self._ray.remote(_serve)
        return serve.options(**options)


def _covers(offer: Mapping[str, float], needs: Resources) -> bool:
    wanted = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory_bytes}
    return all(offer.get(name, 0.0) >= amount for name, amount in wanted.items())


def _serve(order: bytes, hide_gpus: bool) -> Iterator[tuple[str, tuple[str, ...]] | bytes]:
    """What runs in a Ray worker: say that the attempt has begun, and where; then its packed result."""
    import ray

    if hide_gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    worker = f"{ray.util.get_node_ip_address()}:{os.getpid()}"
    yield worker, missing_settings()
    yield attempt_bytes(order, worker)


_NOT_THERE = "a worker could not begin the unit: try `mergescale cluster check`"
_CONTINUE = "look at its logs; the same command continues the run"
