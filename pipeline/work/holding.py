"""Merges computed into this process's memory, several from one read of the experts. Nothing is written.

The arithmetic is that of the written merge, load by load (`rounds.Walk`), so the bytes are the same. Every
input byte that any of the merges needs is read once a pass: one pass where tensors fit a worker, one more for
each round that measures a group (`trim_scope: model`, or a tensor too large to hold).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from pipeline.checkpoint.nonfinite import NonFinite
from pipeline.kernels.nonfinite import count_nonfinite
from pipeline.methods import load_method
from pipeline.methods.contract import Method, Partial, Round, Scope, Totals
from pipeline.plan.cost import is_sampled, raw_bytes
from pipeline.plan.plan import MergePlan, Piece, TensorPlan
from pipeline.work.lanes import Lane, make_lane
from pipeline.work.orders import PieceOrder
from pipeline.work.reading import Arena, Bytes, Load
from pipeline.work.rounds import Walk
from pipeline.work.sharing import shared_loads
from pipeline.work.torch_lanes import torch_dtype
from pipeline.work.tracing import explained, trace
from pipeline.work.unit import all_equal


@dataclass
class _Group:
    """What the rounds have found out about one group of one plan, and the running sums of its scans."""

    totals: Totals = field(default_factory=dict)
    scans: tuple[Round, ...] = ()
    before: Partial = field(default_factory=dict)


class _Merge:
    """One plan on its way: its groups, the tensors it fills, and which piece of which tensor is whose."""

    def __init__(self, plan: MergePlan, lane: Lane) -> None:
        self.plan, self.lane = plan, lane
        self.method: Method = load_method(plan.config.merge_method)
        self.models = tuple(str(index.ref) for index in plan.experts)
        self.tensors = {tensor.spec.name: tensor for tensor in plan.tensors}
        self.groups = [_Group() for _ in plan.groups]
        self.group_of = {
            plan.tensors[number].spec.name: position
            for position, group in enumerate(plan.groups)
            for number in group.tensors
        }
        self.resident = {
            plan.tensors[piece.tensor].spec.name
            for unit in plan.units
            for piece in unit.pieces
            if piece.mode == "resident"
        }
        #: Filled load by load; tensors without elements have no load.
        self.merged = {
            name: torch.empty(0, dtype=torch_dtype(tensor.spec.dtype))
            for name, tensor in self.tensors.items()
            if tensor.spec.numel == 0
        }

    def asking(self) -> dict[int, Round]:
        """Group -> the round it needs next; those that are settled are left out."""
        found = {}
        for number, known in enumerate(self.groups):
            round_ = self.method.next_round(self.plan.groups[number].knobs, known.totals)
            if round_ is not None:
                found[number] = round_
        return found

    def order(self, name: str) -> PieceOrder:
        """The whole of a tensor, held whole where it must be settled."""
        tensor = self.tensors[name]
        mode: Literal["stream", "resident"] = "resident" if name in self.resident else "stream"
        return PieceOrder(tensor, Piece(0, 0, tensor.spec.numel, mode))

    def walk(self, load: Load, tensor: TensorPlan) -> Walk:
        """A walk over a load of one tensor, with what is known about its group."""
        number = self.group_of.get(tensor.spec.name)
        known = self.groups[number] if number is not None else _Group()
        return Walk(self.lane, self.method, self.models, load, known.totals, known.before, known.scans)

    def measure(
        self, load: Load, tensor: TensorPlan, round_: Round, folded: dict[int, Partial], *, least: int | None
    ) -> None:
        """Add what one load, or a share of it, says about its group."""
        number = self.group_of[tensor.spec.name]
        walk = self.walk(load, tensor)
        walk.measure(round_, folded.setdefault(number, {}), least=least)
        self.groups[number].before = walk.before

    def settle(self, asked: dict[int, Round], folded: dict[int, Partial]) -> None:
        """Close a round: the groups' totals move on, and running sums start again at nothing."""
        for number, round_ in asked.items():
            known, group = self.groups[number], self.plan.groups[number]
            scope = Scope(group.numel)
            known.totals = self.method.settle(round_, folded[number], group.knobs, known.totals, scope)
            if round_.scan:
                known.scans = (*known.scans, round_)
            known.before = {}

    def apply(self, load: Load, tensor: TensorPlan) -> None:
        """Merge (or copy) one load into the tensor being filled."""
        spec, start = tensor.spec, load.request.start
        if spec.name not in self.merged:
            self.merged[spec.name] = torch.empty(spec.numel, dtype=torch_dtype(spec.dtype))
        out = self.merged[spec.name].view(torch.uint8).numpy()
        size = spec.dtype.size_bytes
        if tensor.action == "copy":
            all_equal(load, self.models)
            out[start * size : start * size + load.raw[0].size] = load.raw[0]
            return
        walk = self.walk(load, tensor)
        if spec.name in self.resident:
            walk.settle(Scope(spec.numel))

        def place(first: int, last: int) -> Bytes:
            return out[(start + first) * size : (start + last) * size]

        walk.apply(place, lambda first, last: None)
        if spec.name in self.group_of:
            self.groups[self.group_of[spec.name]].before = walk.before


def merge_in_memory(plans: Sequence[MergePlan]) -> list[dict[str, Tensor]]:
    """The tensors of each plan's model by name, in their shapes and storage types, on the CPU.

    Inputs must lie on this machine (`run.with_local_weights`). Peak memory: the merged models, and of the
    inputs one tensor of every model where each merge can hold it, else a load of it. Raises CheckpointError
    where inputs that must be equal are not.
    """
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    lane = make_lane(plans[0].device)
    merges = [_Merge(plan, lane) for plan in plans]
    arena = Arena(lane.allocate)
    while any(asked := [merge.asking() for merge in merges]):
        folded: list[dict[int, Partial]] = [{} for _ in merges]
        thin = [
            {
                group: round_.sample and is_sampled(merge.plan.groups[group].numel)
                for group, round_ in rounds.items()
            }
            for merge, rounds in zip(merges, asked, strict=True)
        ]
        sample = all(found for rounds in thin for found in rounds.values())
        for number, load, tensor in _loads(merges, arena, _asking(merges, asked), sample=sample):
            group = merges[number].group_of[tensor.spec.name]
            least = 0 if thin[number][group] and not sample else None
            merges[number].measure(load, tensor, asked[number][group], folded[number], least=least)
        for merge, rounds, partials in zip(merges, asked, folded, strict=True):
            merge.settle(rounds, partials)
    for number, load, tensor in _loads(merges, arena, lambda number, name: name in merges[number].tensors):
        merges[number].apply(load, tensor)
    return [_shaped(merge) for merge in merges]


def nonfinite_in(plan: MergePlan, merged: Mapping[str, Tensor]) -> tuple[NonFinite, ...]:
    """Say which tensors of a merge in memory hold elements that are NaN or infinite, and where those come
    from, as the manifest of the written merge would.

    Raises OSError where an input of such a tensor cannot be read again.
    """
    found = []
    for tensor in plan.tensors:
        raw = merged[tensor.spec.name].flatten().view(torch.uint8).numpy()
        count = count_nonfinite(raw, tensor.spec.dtype.name) if tensor.spec.dtype.is_float else 0
        if count:
            found.append(explained(plan, tensor, count, trace({"tensor": tensor})["traced"]))
    return tuple(found)


def _asking(merges: Sequence[_Merge], asked: Sequence[dict[int, Round]]) -> Callable[[int, str], bool]:
    """Whether a merge has a round open for a tensor."""
    return lambda number, name: merges[number].group_of.get(name, -1) in asked[number]


def _loads(
    merges: Sequence[_Merge], arena: Arena, wanted: Callable[[int, str], bool], *, sample: bool = False
) -> Iterator[tuple[int, Load, TensorPlan]]:
    """(number of the merge, load, tensor) in the plans' order, whichever of them ask, as running sums go by
    it; what several merges need is read together.

    With `sample` only a share of every tensor is read.
    """
    names = dict.fromkeys(name for merge in merges for name in merge.tensors)
    orders = [
        (number, merge.order(name))
        for name in names
        for number, merge in enumerate(merges)
        if name in merge.tensors and merge.tensors[name].spec.numel and wanted(number, name)
    ]
    plans = [merge.plan for merge in merges]
    limit = min(raw_bytes(plan.limits, len(plan.experts), plan.device) for plan in plans)
    for number, load in shared_loads(orders, merges[0].lane, arena, limit, sample=sample):
        yield number, load, load.request.order.tensor
        merges[number].lane.settle()


def _shaped(merge: _Merge) -> dict[str, Tensor]:
    """The filled tensors in their shapes, in the plan's order."""
    return {name: merge.merged[name].view(tensor.spec.shape) for name, tensor in merge.tensors.items()}
