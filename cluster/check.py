"""Is this cluster fit for our units? Asks every node the same questions and compares the answers with ours.

It changes nothing on the nodes; in a shared directory it writes small files and removes them. It reports
and never repairs.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cluster import probe
from cluster.contract import ClusterError
from cluster.on_ray import RayExecutor
from cluster.surroundings import CLUSTER_SETTINGS, settings_hint

DISTRIBUTIONS = ("ray", "torch", "mergescale")
PACKAGES = ("pipeline", "cluster", "evals")
ANSWER_WAIT_S = 60.0


@dataclass(frozen=True)
class Problem:
    """What is wrong, on which node, and what to do about it."""

    node: str
    what: str
    hint: str


@dataclass
class Node:
    """A node as the cluster lists it, with its own report (empty when it did not answer)."""

    id: str
    address: str
    cpus: float
    gpus: float
    report: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""


@dataclass
class Report:
    """The driver's facts, every node's, and what does not fit together. `notes` are advice, not failures."""

    driver: dict[str, Any]
    nodes: list[Node]
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every node fits."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"ok": self.ok, **asdict(self)}

    def as_text(self) -> str:
        """As a table for people, one line a node."""
        rows = [_COLUMNS, *(_row(node, self) for node in self.nodes)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        return "\n".join(line.rstrip() for line in lines)


def check(address: str | None, shared: Path | None = None) -> Report:
    """Ask every node of the cluster at `address` (None: an embedded Ray on this machine).

    Raises ClusterError when the cluster cannot be reached, or the shared directory is not writable from here.
    """
    with _shared_order(shared) as order, RayExecutor(address):
        driver = probe.report({**_questions(), "shared": None})
        report = Report(driver, _ask(order))
        for node in report.nodes:
            report.problems += _problems(node, driver)
        _advise(report)
        return report


def _questions() -> dict[str, Any]:
    return {"distributions": DISTRIBUTIONS, "packages": PACKAGES, "variables": tuple(CLUSTER_SETTINGS)}


@contextmanager
def _shared_order(shared: Path | None) -> Iterator[dict[str, Any] | None]:
    """A file with a token in the shared directory while the nodes are asked; all of ours are removed."""
    if shared is None:
        yield None
        return
    token = secrets.token_hex(8)
    prefix = f".mergescale-check-{token}"
    directory = shared.absolute()
    try:
        (directory / prefix).write_text(token)
    except OSError as error:
        raise ClusterError(
            f"{directory} is not writable from here: {error.strerror}", "give another --shared"
        ) from error
    try:
        yield {"directory": str(directory), "name": prefix, "token": token}
    finally:
        for path in directory.glob(f"{prefix}*"):
            path.unlink(missing_ok=True)


def _ask(shared: Mapping[str, Any] | None) -> list[Node]:
    """One probe on every node alive, even on those that offer no CPU."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.cloudpickle.register_pickle_by_value(
        probe
    )  # a node may lack our packages, or have others of their names
    remote = ray.remote(probe.report)
    nodes, asked = [], {}
    for number, entry in enumerate(node for node in ray.nodes() if node["Alive"]):
        resources = entry["Resources"]
        address, cpus, gpus = (
            entry["NodeManagerAddress"],
            resources.get("CPU", 0.0),
            resources.get("GPU", 0.0),
        )
        nodes.append(Node(entry["NodeID"], address, cpus, gpus))
        order = None if shared is None else {**shared, "answer": f"{shared['name']}-{number}"}
        strategy = NodeAffinitySchedulingStrategy(entry["NodeID"], soft=False)
        task = remote.options(num_cpus=0, max_retries=0, scheduling_strategy=strategy)
        asked[task.remote({**_questions(), "shared": order})] = nodes[-1]
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_WAIT_S)
    for reference in answered:
        node = asked[reference]
        try:
            node.report = ray.get(reference)
        except ray.exceptions.RayError as error:
            node.trouble = str(error).strip().splitlines()[-1]
    for reference in silent:
        asked[reference].trouble = f"no answer within {ANSWER_WAIT_S:.0f} s"
    ray.cloudpickle.unregister_pickle_by_value(probe)
    return nodes


def _problems(node: Node, driver: Mapping[str, Any]) -> Iterator[Problem]:
    who, found = node.address, node.report
    if not found:
        yield Problem(
            who, f"the node does not answer: {node.trouble}", "look at the raylet's log on that host"
        )
        return
    mine = driver["python"].rpartition(".")[0]
    if found["python"].rpartition(".")[0] != mine:
        yield Problem(
            who, f"Python {found['python']}, here {driver['python']}", f"install Python {mine} there"
        )
    for name, version in driver["versions"].items():
        theirs = found["versions"][name]
        if theirs != version:
            hint = f"pip install {name}=={version} in the node's environment ({found['executable']})"
            yield Problem(who, f"{name} {theirs or 'is missing'}, here {version or 'missing'}", hint)
    for name, package in driver["packages"].items():
        theirs = found["packages"][name]
        if theirs["digest"] != package["digest"]:
            what = f"package {name} comes from {theirs['place'] or 'nowhere'} and is not the driver's"
            hint = "install the same mergescale there; look for other packages of that name on its path"
            yield Problem(who, what, hint)
    if found["shared"]:
        yield Problem(
            who, f"shared directory: {found['shared']}", "mount the same storage at the same path there"
        )


def _advise(report: Report) -> None:
    lacking = [node.address for node in report.nodes if node.report.get("missing_variables")]
    if lacking and len(report.nodes) > 1:
        where = ", ".join(lacking)
        report.notes.append(
            f"{where}: Ray runs with default health settings, so a host that drops off the network is "
            f"noticed late; before `ray start` on every host: {settings_hint()}"
        )
    for node in report.nodes:
        devices = node.report.get("gpu_devices", 0)
        if devices > node.gpus:
            report.notes.append(f"{node.address}: {devices} GPU devices, but Ray offers {node.gpus:g}")


_COLUMNS = (
    "node", "host", "fits", "python", "ray", "torch", "mergescale", "code", "CPUs", "GPUs", "free GiB",
    "shared",
)  # fmt: skip


def _row(node: Node, report: Report) -> tuple[str, ...]:
    fits = "no" if any(problem.node == node.address for problem in report.problems) else "yes"
    found = node.report
    if not found:
        return (node.address, "?", fits, *["?"] * (len(_COLUMNS) - 3))
    same = all(
        found["packages"][name]["digest"] == report.driver["packages"][name]["digest"] for name in PACKAGES
    )
    versions = (found["versions"][name] or "missing" for name in DISTRIBUTIONS)
    shared = {None: "-", "": "yes"}.get(found["shared"], "no")
    return (
        node.address,
        found["host"],
        fits,
        found["python"],
        *versions,
        "same" if same else "differs",
        f"{node.cpus:g}",
        f"{node.gpus:g}",
        f"{found['free_memory_bytes'] / 2**30:.1f}",
        shared,
    )
