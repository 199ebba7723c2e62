"""Plans that were cut together, seen as one run: their common units, and what the run costs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.plan import cost
from pipeline.plan.plan import Cost, MergePlan, TensorPlan, UnitPlan, read_together


@dataclass(frozen=True)
class SharedUnit:
    """One unit of every merge that has a part in it: (number of the merge, its unit). `read_bytes`: what all
    of them need, each input once.
    """

    id: str
    members: tuple[tuple[int, UnitPlan], ...]
    read_bytes: int


def share_units(plans: Sequence[MergePlan]) -> list[SharedUnit]:
    """The units of plans that were cut together, side by side, in the plans' order."""
    members: dict[str, list[tuple[int, UnitPlan]]] = {}
    for number, plan in enumerate(plans):
        for unit in plan.units:
            members.setdefault(unit.id, []).append((number, unit))
    return [
        SharedUnit(name, tuple(found), read_bytes([(plans[number], unit) for number, unit in found]))
        for name, found in members.items()
    ]


def shared_cost(plans: Sequence[MergePlan]) -> Cost:
    """What plans that were cut together cost in one run: common inputs are read once."""
    units = share_units(plans)
    alone = sum(unit.read_bytes for plan in plans for unit in plan.units)
    together = sum(unit.read_bytes for unit in units)
    measured = sum(_measured_bytes(plans, unit) for unit in units)
    limits = plans[0].limits
    work_s = sum(unit.expected_s for plan in plans for unit in plan.units)
    spared_s = (alone - together - measured) / limits.disk_bytes_per_s
    return Cost(
        read_bytes=together + measured,
        write_bytes=sum(plan.cost.write_bytes for plan in plans),
        memory_bytes=max(plan.cost.memory_bytes for plan in plans),
        seconds=cost.START_S + (work_s - spared_s) / max(1, limits.workers),
    )


def _measured_bytes(plans: Sequence[MergePlan], unit: SharedUnit) -> int:
    """What is read of a unit before it is merged: in each pass, what those need that take part in it."""
    passes = {
        number: 0 if own.group is None else plans[number].groups[own.group].passes
        for number, own in unit.members
    }
    return sum(
        read_bytes([(plans[number], own) for number, own in unit.members if passes[number] > past])
        for past in range(max(passes.values()))
    )


def read_bytes(parts: Sequence[tuple[MergePlan, UnitPlan]]) -> int:
    """Bytes of the inputs that units of the same elements need, each input once."""
    tensors: dict[tuple[str, int, int], tuple[int, list[TensorPlan]]] = {}
    for plan, unit in parts:
        for piece in unit.pieces:
            tensor = plan.tensors[piece.tensor]
            key = tensor.spec.name, tensor.spec.numel, piece.start
            tensors.setdefault(key, (piece.numel, []))[1].append(tensor)
    return sum(numel * read_together(found).read_bytes_per_element for numel, found in tensors.values())
