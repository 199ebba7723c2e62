"""Dispatch's way to a connected Ray: core tasks, actors, their messages and their ends.

A handle is a stream of two messages, that the attempt has begun and its result. Neither tasks nor actors are
ever restarted by Ray itself. It decides nothing: dispatch.py says what is submitted, seats.py which actors
there are. Ray is imported when a port is made, and in workers.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cluster.attempt import THREAD_VARIABLES, Result, attempt_bytes, fault_of, lost, unpacked
from cluster.connection import first_line, warn_of_missing_settings
from cluster.contract import ClusterError, Fault, Resources, Unit
from cluster.port import Begun
from cluster.surroundings import missing_settings

FETCH_S = 60.0
HERE = f"{socket.gethostname()}:{os.getpid()}"


@dataclass(frozen=True)
class _Unsent:
    """The handle of an attempt that never left this process."""

    result: Result


class RayPort:
    """A `Port` to the Ray that this process is connected to."""

    def __init__(self, *, embedded: bool, warned: bool) -> None:
        import ray

        self._ray, self._embedded = ray, embedded
        self._warned = embedded or warned
        self._tasks: dict[Resources, Any] = {}
        self._actors: dict[Resources, Any] = {}
        self._nodes = self._alive_nodes()

    def cpus(self) -> float:
        """CPUs of all nodes that are alive."""
        return float(sum(node.get("CPU", 0.0) for node in self._nodes))

    def has_ended(self) -> bool:
        """Whether the control process (GCS) of the embedded Ray, a child of this process, has ended."""
        if not self._embedded:
            return False
        node = getattr(self._ray._private.worker, "_global_node", None)
        servers = node.all_processes.get("gcs_server", []) if node is not None else []
        return any(server.process.poll() is not None for server in servers)

    def submit(self, unit: Unit, actor: Any = None) -> Any:
        """Queue one attempt, as a task or with an actor of ours."""
        try:
            order = self._ray.cloudpickle.dumps((unit.function, unit.payload))
        except Exception as error:  # noqa: BLE001 -- whatever pickling raises is the unit's fault
            return _Unsent(Result(None, fault_of(error, "program"), 0.0, HERE))
        if actor is not None:
            return actor.serve.options(num_returns="streaming").remote(order)
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
            if getattr(error, "actor_init_failed", False):  # ours could not be made there; last: the cause
                cause = str(error).strip().splitlines()[-1]
                return Result(None, Fault("program", f"{cause} ({_NOT_THERE})"), 0.0, "")
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

    def hire(self, needs: Resources) -> Any:
        """A new actor; it waits for its room as a task would."""
        if needs not in self._actors:
            self._actors[needs] = self._ray.remote(_Server).options(
                max_restarts=0, max_task_retries=0, **self._options(needs)
            )
        return self._actors[needs].remote(needs.gpus == 0)

    def dismiss(self, actor: Any, *, force: bool) -> None:
        """End an actor, at once or after what it runs."""
        if force:
            self._ray.kill(actor)
        else:
            actor.__ray_terminate__.remote()

    def holds(self, needs: Sequence[Resources]) -> bool:
        """Whether the nodes that are alive have all this at once, each of `needs` on one node."""
        self._nodes = self._alive_nodes()
        free = [dict(node) for node in self._nodes]
        for one in sorted(needs, key=lambda one: (one.gpus, one.cpus, one.memory_bytes), reverse=True):
            node = next((node for node in free if _covers(node, one)), None)
            if node is None:
                return False
            for name, amount in _amounts(one).items():
                node[name] = node.get(name, 0.0) - amount
        return True

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

        A GPU unit gets a process of its own (Ray's rule, max_calls=1): a process stays on the GPU that it saw
        first.
        """
        serve = self._ray.remote(num_gpus=1, max_calls=1)(_serve) if needs.gpus else self._ray.remote(_serve)
        return serve.options(max_retries=0, num_returns="streaming", **self._options(needs))

    def _options(self, needs: Resources) -> dict[str, Any]:
        """Where units with these needs may run, and their environment.

        SPREAD, because units read and write files themselves: what they compete for is each node's disk and
        network.
        """
        options: dict[str, Any] = {"scheduling_strategy": "SPREAD"}
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
        return options


def _covers(offer: Mapping[str, float], needs: Resources) -> bool:
    return all(offer.get(name, 0.0) >= amount for name, amount in _amounts(needs).items())


def _amounts(needs: Resources) -> dict[str, float]:
    return {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory_bytes}


class _Server:
    """What an actor is: a process that serves one attempt after another and keeps what they load."""

    def __init__(self, hide_gpus: bool) -> None:
        self._hide_gpus = hide_gpus

    def serve(self, order: bytes) -> Iterator[tuple[str, tuple[str, ...]] | bytes]:
        """One attempt, as a stream."""
        yield from _serve(order, self._hide_gpus)


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
