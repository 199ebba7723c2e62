"""What the planner may count on (from flags, the machine or a described cluster), and the plan in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.errors import InputError, near, shown
from pipeline.machine import default_memory_bytes, local_share, parse_bytes
from pipeline.plan.cost import INTERPRETER_BYTES
from pipeline.plan.plan import Limits, MergePlan
from pipeline.plan.together import shared_cost
from pipeline.untrusted import parse_whole

_MOST_MACHINES = 1_000_000
_CLUSTER_KEYS = ("nodes", "gpus", "cpus", "disk", "memory")
#: Files in the page cache, read by two cores; `--cluster disk=` says otherwise.
_DISK_BYTES_PER_S = 3.6e9


def limits_for(
    memory: str | None, workers: int | None, *, device: str = "cpu", processes: bool, cluster: str | None
) -> Limits:
    """Limits of one worker. `memory` is for all workers of this machine together, interpreters included.

    `workers`: as many as run here at once; None: one a core, or one for the GPU. `processes`: each worker is
    a process of its own (Ray) and pays for its own interpreter. `cluster` describes machines that are not
    here and overrides the rest. Raises InputError for unreadable sizes and unknown keys.
    """
    if cluster is not None:
        return _described(cluster, memory)
    count = workers or local_share(device)["here"]
    total = parse_bytes(memory) if memory else default_memory_bytes()
    interpreters = INTERPRETER_BYTES * (count if processes else 1)
    return Limits((total - interpreters) // count, count, _DISK_BYTES_PER_S / count)


def _described(text: str, memory: str | None) -> Limits:
    """ "nodes=8,gpus=8,disk=5GBps": one worker a GPU (or a CPU where there is none), one disk for all."""
    given: dict[str, str] = {}
    for part in text.split(","):
        key, found, value = part.partition("=")
        known = key.strip() in _CLUSTER_KEYS and key.strip() not in given
        if not known or not found or not value.strip():
            raise InputError(
                "cannot read the cluster description",
                where=f"--cluster {shown(text)}",
                found=shown(part),
                expected="key=value pairs separated by commas, each key once",
                hint=near(key.strip(), list(_CLUSTER_KEYS)),
            )
        given[key.strip()] = value.strip()
    nodes = _count(given.get("nodes", "1"), "nodes")
    workers = "gpus" if "gpus" in given else "cpus"
    each = _count(given.get(workers, "1"), workers)
    disk = (
        parse_bytes(given["disk"].lower().removesuffix("ps").removesuffix("/s"))
        if "disk" in given
        else _DISK_BYTES_PER_S
    )
    node_memory = parse_bytes(memory or given.get("memory", "256GiB"))
    return Limits((node_memory - INTERPRETER_BYTES * each) // each, nodes * each, disk / (nodes * each))


def _count(text: str, key: str) -> int:
    return parse_whole(text, f"--cluster {key}", least=1, most=_MOST_MACHINES)


def as_text(plan: MergePlan) -> str:
    """The plan for people: what goes in, what is done, what comes out, what it costs."""
    facts = plan.summary()
    held = sum(1 for unit in plan.units for piece in unit.pieces if piece.mode == "resident")
    streamed = sum(1 for unit in plan.units for piece in unit.pieces if piece.mode == "stream")
    copied = sum(1 for tensor in plan.tensors if tensor.action == "copy")
    lines = [
        f"method      {facts['method']} on {plan.device}",
        f"base        {plan.base.ref if plan.base else 'not used'}",
        *(f"expert      {index.ref}" for index in plan.experts),
        f"companions  config and tokenizer from {facts['companions_from']}",
        f"tensors     {facts['tensors']} ({facts['parameters'] / 1e6:.2f}M parameters), {copied} copied",
        f"output      {_output(plan)}",
        f"work        {facts['units']} units, {held} tensors held whole, {streamed} pieces streamed, "
        f"{facts['measured_groups']} groups measured first",
        f"reading     {size_text(plan.cost.read_bytes)}",
        f"memory      {plan.cost.memory_bytes / 2**20:.0f} MiB of buffers x {plan.limits.workers} worker(s)",
        f"time        about {plan.cost.seconds:.0f} s where storage gives {_speed(plan)} a second",
        f"plan        {plan.fingerprint}",
    ]
    return "\n".join(lines)


def _output(plan: MergePlan) -> str:
    size = size_text(plan.cost.write_bytes)
    return (
        f"{size} of weights, digested and dropped" if plan.discard else f"{len(plan.shards)} file(s), {size}"
    )


def _speed(plan: MergePlan) -> str:
    return size_text(int(plan.limits.disk_bytes_per_s * plan.limits.workers))


def together(plans: Sequence[MergePlan]) -> dict[str, Any]:
    """What plans that were made together cost in one run, as plain data."""
    cost = shared_cost(plans)
    return {
        "read_bytes": cost.read_bytes,
        "write_bytes": cost.write_bytes,
        "worker_memory_bytes": cost.memory_bytes,
        "estimated_s": round(cost.seconds, 2),
    }


def together_text(plans: Sequence[MergePlan]) -> str:
    """The same for people, beside what the merges would read one after another."""
    cost = shared_cost(plans)
    alone = sum(plan.cost.read_bytes for plan in plans)
    lines = [
        f"together    {len(plans)} models, {size_text(cost.write_bytes)}",
        f"reading     {size_text(cost.read_bytes)}, one after another {size_text(alone)}",
        f"time        about {cost.seconds:.0f} s",
    ]
    return "\n".join(lines)


def size_text(size_bytes: int) -> str:
    """Bytes in the decimal unit that leaves one to three digits before the point."""
    value, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.4g} {unit}"
