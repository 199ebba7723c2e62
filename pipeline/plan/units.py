"""Which tensors are measured together, and every unit of work: for one merge, or for several at once.

Merges that share a run are cut alike: a unit is the same elements in all of them, so that a worker reads what
they have in common once. Deterministic; the cut never changes the merged bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.checkpoint.layout import natural_key
from pipeline.config.load import fingerprint
from pipeline.errors import ConfigError
from pipeline.methods.contract import Method
from pipeline.plan import cost, cut
from pipeline.plan.plan import UNIT_ID_LENGTH, Cost, Group, Limits, Piece, TensorPlan, UnitPlan, read_together


@dataclass(frozen=True)
class Draft:
    """A merge before its work is cut: its tensors and its method."""

    tensors: tuple[TensorPlan, ...]
    method: Method

    def asks(self, number: int) -> bool:
        """Whether the tensor must be measured before it is merged."""
        tensor = self.tensors[number]
        return tensor.action == "merge" and self.method.next_round(tensor.knobs, {}) is not None


@dataclass(frozen=True)
class Cut:
    """How one merge's work is cut, and what it costs."""

    groups: tuple[Group, ...]
    units: tuple[UnitPlan, ...]
    cost: Cost


@dataclass(frozen=True)
class _Shared:
    """One tensor in all merges: its number in each, None where a merge does not make it; `whole` reads for
    all of them.
    """

    whole: TensorPlan
    numbers: tuple[int | None, ...]


def cut_work(drafts: Sequence[Draft], limits: Limits, device: str) -> tuple[Cut, ...]:
    """Groups, units and cost of each merge, cut so that all of them can read together.

    Raises InputError where the memory bound is too small, ConfigError where tensors that are measured
    together do not agree on what is measured.
    """
    shared = _share(drafts)
    wholes = [each.whole for each in shared]
    experts = max((len(tensor.sources) for draft in drafts for tensor in draft.tensors), default=0)
    cost.enough_memory(wholes, experts, limits, device, merges=len(drafts))
    bound_bytes = cost.raw_bytes(limits, experts, device)
    target = cut.unit_bytes(sum(whole.spec.numel * whole.read_bytes_per_element for whole in wholes))
    groups = [_groups(draft, number, shared, experts, limits, device) for number, draft in enumerate(drafts)]
    units: list[list[UnitPlan]] = [[] for _ in drafts]
    held = 0
    for label, members in sorted(_labelled(shared, groups).items()):
        pieces = [
            piece for index in members for piece in _pieces(shared[index], index, drafts, label, target)
        ]
        # In the order of the first input's bytes, so that a disk is read from front to back.
        pieces.sort(key=lambda piece: _place_read(wholes[piece.tensor], piece))
        for bundle in cut.bundle(pieces, wholes, target):
            held = max(held, cost.held_bytes(bundle, wholes, device, bound_bytes))
            for number, unit in _units(bundle, label, shared, drafts, limits):
                units[number].append(unit)
    memory_bytes = cost.workspace_bytes(experts, device) + held
    return tuple(
        Cut(found, tuple(own), cost.total_cost(own, found, draft.tensors, limits, memory_bytes))
        for draft, found, own in zip(drafts, groups, units, strict=True)
    )


def _share(drafts: Sequence[Draft]) -> list[_Shared]:
    """The tensors of all merges, each once; tensors of another size by the same name are others."""
    places: dict[tuple[str, int], dict[int, int]] = {}
    for draft, merge in enumerate(drafts):
        for number, tensor in enumerate(merge.tensors):
            places.setdefault((tensor.spec.name, tensor.spec.numel), {})[draft] = number
    return [
        _Shared(
            read_together([drafts[draft].tensors[number] for draft, number in found.items()]),
            tuple(found.get(draft) for draft in range(len(drafts))),
        )
        for found in places.values()
    ]


def _groups(
    draft: Draft, position: int, shared: Sequence[_Shared], experts: int, limits: Limits, device: str
) -> tuple[Group, ...]:
    """What one merge measures before merging: the whole model under model scope, else each tensor too big to
    be held.
    """
    asking = {each.numbers[position]: each for each in shared}
    numbers = [number for number in range(len(draft.tensors)) if draft.asks(number)]
    if numbers and draft.method.scope(draft.tensors[numbers[0]].knobs) == "model":
        members = [tuple(numbers)]
    else:
        members = [
            (number,) for number in numbers if not cost.fits(asking[number].whole, experts, limits, device)
        ]
    for found in members:
        _one_value(draft, found)
    return tuple(
        Group(
            found,
            sum(draft.tensors[number].spec.numel for number in found),
            draft.tensors[found[0]].knobs,
            draft.method.passes(draft.tensors[found[0]].knobs),
        )
        for found in members
    )


def _labelled(
    shared: Sequence[_Shared], groups: Sequence[tuple[Group, ...]]
) -> dict[tuple[int, ...], list[int]]:
    """Tensors by their group in each merge, -1 for none: those of one unit agree in it."""
    group_of = [
        {number: index for index, group in enumerate(own) for number in group.tensors} for own in groups
    ]
    found: dict[tuple[int, ...], list[int]] = {}
    for index, each in enumerate(shared):
        label = tuple(
            -1 if number is None else of.get(number, -1)
            for number, of in zip(each.numbers, group_of, strict=True)
        )
        found.setdefault(label, []).append(index)
    return found


def _pieces(
    each: _Shared, index: int, drafts: Sequence[Draft], label: Sequence[int], target_bytes: int
) -> list[Piece]:
    """The pieces of one tensor: the whole of it where a merge must hold it, else runs of it."""
    takers = [
        (draft, number, group)
        for draft, number, group in zip(drafts, each.numbers, label, strict=True)
        if number is not None and draft.tensors[number].action == "merge"
    ]
    if any(
        (group < 0 and draft.asks(number)) or draft.method.traits.grain == "tensor"
        for draft, number, group in takers
    ):
        return [Piece(index, 0, each.whole.spec.numel, "resident")]
    grain = max((_grain(draft.tensors[number], draft.method) for draft, number, _ in takers), default=1)
    return cut.cut_tensor(each.whole, index, grain, target_bytes)


def _units(
    pieces: Sequence[Piece],
    label: Sequence[int],
    shared: Sequence[_Shared],
    drafts: Sequence[Draft],
    limits: Limits,
) -> list[tuple[int, UnitPlan]]:
    """(number of the merge, its unit) for each merge that has a part in these pieces."""
    specs = [shared[piece.tensor].whole.spec for piece in pieces]
    named = [
        [spec.name, spec.numel, piece.start, piece.stop] for spec, piece in zip(specs, pieces, strict=True)
    ]
    name = f"unit-{fingerprint(named)}"[:UNIT_ID_LENGTH]
    found = []
    for number, draft in enumerate(drafts):
        own = tuple(
            replace(piece, tensor=tensor)
            for piece in pieces
            if (tensor := shared[piece.tensor].numbers[number]) is not None
        )
        if own:
            found.append((number, _unit(name, own, label[number], draft, limits)))
    return found


def _unit(name: str, pieces: tuple[Piece, ...], group: int, draft: Draft, limits: Limits) -> UnitPlan:
    """One merge's part of a unit."""
    tensors = [(piece.numel, draft.tensors[piece.tensor]) for piece in pieces]
    read_bytes = sum(numel * tensor.read_bytes_per_element for numel, tensor in tensors)
    write_bytes = sum(numel * tensor.spec.dtype.size_bytes for numel, tensor in tensors)
    inputs = sum(numel * len(tensor.sources) for numel, tensor in tensors)
    return UnitPlan(
        id=name,
        pieces=pieces,
        group=None if group < 0 else group,
        read_bytes=read_bytes,
        write_bytes=write_bytes,
        expected_s=cost.unit_seconds(read_bytes, write_bytes, inputs, draft.method.traits, limits),
    )


def _place_read(tensor: TensorPlan, piece: Piece) -> tuple[Any, int]:
    """File and offset of a piece in its first input."""
    source = tensor.inputs[0]
    return natural_key(source.file), source.start_byte + piece.start * source.dtype.size_bytes


def _one_value(draft: Draft, numbers: Sequence[int]) -> None:
    """Under model scope the knobs that rounds read must not change from tensor to tensor."""
    first = draft.tensors[numbers[0]]
    for number in numbers[1:]:
        other = draft.tensors[number]
        for knob in draft.method.knobs:
            if knob.in_totals and other.knobs[knob.name] != first.knobs[knob.name]:
                raise ConfigError(
                    f'"{knob.name}" must be the same for all tensors when the whole model is trimmed at once',
                    where=f'tensors "{first.spec.name}" and "{other.spec.name}"',
                    expected=str(first.knobs[knob.name]),
                    found=str(other.knobs[knob.name]),
                    hint="remove the filter or gradient, or use trim_scope: tensor",
                )


def _grain(tensor: TensorPlan, method: Method) -> int:
    """Elements that must stay together."""
    if method.traits.grain == "element":
        return 1
    shape = tensor.spec.shape
    return max(1, shape[-1] if method.traits.grain == "row" and shape else tensor.spec.numel)
