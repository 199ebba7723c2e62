"""Line the models' tensors up by name, or say exactly which model and tensor does not fit.

From headers alone, but for tensors that must be equal: those are compared (see `tied.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.checkpoint.compare import lies_here, same_bytes
from pipeline.checkpoint.index import CheckpointIndex, TensorEntry
from pipeline.checkpoint.recomputed import is_recomputed
from pipeline.errors import CheckpointError, shown
from pipeline.plan.layers import count_layers, is_prediction
from pipeline.plan.mismatch import check_names
from pipeline.plan.tied import Copy, find_copies
from pipeline.plan.unfit import check_fit
from pipeline.values import DTYPES, DType, TensorSpec

#: Words in the names of integers that count steps of training.
_COUNTER = re.compile(r"(^|_)(num|n|steps?|count(er)?|updates|batches|averaged|iterations?|seen)(_|$)")
#: Tensors that must be equal are compared at once up to this size; longer ones while they are copied.
_COMPARED_BYTES = 16 << 20
#: Why tensors that not all models store alike may be left out.
_RECOMPUTED = "not every model stores it alike, and loading computes it"
_PREDICTION = "it belongs to an extra prediction layer, which not every model has"
_LISTED = 5


@dataclass(frozen=True)
class Aligned:
    """One tensor in all models, in the order the models were given.

    draws_as: the tensor whose random draws it shares: its own name, or that of a tensor it stays equal to.
    """

    name: str
    entries: tuple[TensorEntry, ...]
    draws_as: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape all models agree on."""
        return self.entries[0].spec.shape


@dataclass(frozen=True)
class Alignment:
    """The tensors of a merge, the names of those that are left out, and notes on what was decided."""

    rows: tuple[Aligned, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    def decisions(self) -> list[Any]:
        """What the fingerprint must hold of them: all that names, types and shapes do not tell."""
        special = [
            [row.name, row.draws_as, *(entry.spec.name for entry in row.entries)]
            for row in self.rows
            if row.draws_as != row.name or any(entry.spec.name != row.name for entry in row.entries)
        ]
        return [list(self.left_out), special]


def align(
    indexes: Sequence[CheckpointIndex], companion: CheckpointIndex | None = None, *, random: bool = False
) -> Alignment:
    """Line up the tensors of models, in the first model's file order.

    Args:
        indexes: the models.  companion: the one whose config the merged model gets, the first by default.
        random: whether the method drops entries at random.

    Raises:
        CheckpointError: naming model and tensor: a model that is quantised or empty, a missing or extra
            tensor, another shape, a float tensor beside one that is not, integers that differ.
        OSError, RunError: tensors cannot be compared.
    """
    companion = companion or indexes[0]
    fit_notes = check_fit(indexes)
    optional = _optional(indexes)
    copies = find_copies(indexes, companion, random=random)
    left_out = {*optional, *(copy.name for copy in copies if copy.fate == "left out")}
    kept = {copy.name: copy for copy in copies if copy.fate != "left out"}
    for index in indexes[1:]:
        check_names(indexes[0], index, apart={*left_out, *kept})
    names = dict.fromkeys(name for name in (*indexes[0].tensors, *kept) if name not in left_out)
    rows = [_row(name, indexes, kept.get(name)) for name in names]
    counters = [row for row in rows if _is_counter(row.entries[0].spec)]
    for row in rows:
        _check_row(row, indexes)
    # A base that takes no part in the arithmetic gives config and tokenizer, never a tensor.
    keeper = companion if any(index is companion for index in indexes) else indexes[0]
    chosen = {row.name: keeper.tensors[row.name] for row in counters}
    return Alignment(
        rows=tuple(
            Aligned(row.name, (chosen[row.name],) * len(indexes), row.name) if row.name in chosen else row
            for row in rows
        ),
        left_out=tuple(sorted(left_out)),
        notes=(
            *fit_notes,
            *_left_out(optional),
            *(copy.note for copy in copies),
            *_compared(copies),
            *_counted(counters, keeper, len(indexes)),
        ),
    )


def _row(name: str, indexes: Sequence[CheckpointIndex], copy: Copy | None) -> Aligned:
    """One tensor in all models; the original stands in for a copy that a model does not store."""
    entries = tuple(
        index.tensors[name if copy is None or name in index.tensors else copy.original] for index in indexes
    )
    return Aligned(name, entries, copy.original if copy and copy.fate == "equal" else name)


def _optional(indexes: Sequence[CheckpointIndex]) -> dict[str, str]:
    """Name -> why it may be left out, of tensors that not all models store alike and none needs."""
    stored: dict[str, list[tuple[CheckpointIndex, TensorSpec]]] = {}
    for index in indexes:
        for name, entry in index.tensors.items():
            stored.setdefault(name, []).append((index, entry.spec))
    layers: dict[int, dict[str, int]] = {}
    found = {}
    for name, places in stored.items():
        alike = len({(spec.dtype, spec.shape) for _, spec in places}) == 1
        if len(places) == len(indexes) and alike:
            continue
        layers = layers or {id(one): count_layers(one.tensors, one.config) for one in indexes}
        if all(is_recomputed(spec) for _, spec in places):
            found[name] = _RECOMPUTED
        elif len(places) < len(indexes) and all(
            is_prediction(name, layers[id(index)]) for index, _ in places
        ):
            found[name] = _PREDICTION
    return found


def _left_out(optional: Mapping[str, str]) -> list[str]:
    """One note for each reason to leave tensors out, with the first of their names."""
    notes = []
    for reason in dict.fromkeys(optional.values()):
        names = [shown(name) for name, why in optional.items() if why == reason]
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        notes.append(f"left out: {', '.join(names[:_LISTED])}{more} ({reason})")
    return notes


def _check_row(row: Aligned, indexes: Sequence[CheckpointIndex]) -> None:
    """Raise CheckpointError where a tensor cannot be merged or copied as it lies in the models."""
    for index, entry in zip(indexes, row.entries, strict=True):
        _same_shape_and_kind(indexes[0], row.entries[0], index, entry)
    first = row.entries[0]
    if first.spec.dtype.is_float or _is_counter(first.spec) or first.spec.size_bytes > _COMPARED_BYTES:
        return
    for index, entry in zip(indexes[1:], row.entries[1:], strict=True):
        if not (lies_here(index) and lies_here(indexes[0])):
            continue  # not worth a request a tensor: the worker that copies it compares it
        if not same_bytes(indexes[0], first, index, entry):
            raise CheckpointError(
                f'tensor "{shown(row.name)}" is not a float tensor and differs between models',
                where=f'model "{index.ref}"',
                expected=f'the same {first.spec.dtype.name} values as in "{indexes[0].ref}"',
                found="different values",
                hint="integers cannot be averaged: merge models that agree in them",
            )


def _same_shape_and_kind(
    first: CheckpointIndex, wanted: TensorEntry, other: CheckpointIndex, found: TensorEntry
) -> None:
    if (found.spec.shape, found.spec.dtype) == (wanted.spec.shape, wanted.spec.dtype):
        return
    name = shown(wanted.spec.name)
    if found.spec.shape != wanted.spec.shape:
        embedding = "embed" in name or "lm_head" in name
        raise CheckpointError(
            f'tensor "{name}" has another shape in model "{other.ref}"',
            where=found.file,
            expected=f'{list(wanted.spec.shape)} as in "{first.ref}"',
            found=str(list(found.spec.shape)),
            hint="the vocabularies differ: give the models the same tokenizer first"
            if embedding
            else "merge models of one architecture and size",
        )
    floats = found.spec.dtype.is_float, wanted.spec.dtype.is_float
    if any(floats) and all(floats):
        return
    if found.spec.dtype != wanted.spec.dtype and not (_is_counter(wanted.spec) and not any(floats)):
        raise CheckpointError(
            f'tensor "{name}" is stored as another kind of number in model "{other.ref}"',
            where=found.file,
            expected=f'{wanted.spec.dtype.name} as in "{first.ref}"',
            found=found.spec.dtype.name,
            hint="quantised checkpoints cannot be merged: dequantise the model first"
            if any(floats)
            else "integers are copied and must be stored alike: write one of the models again",
        )


def _is_counter(spec: TensorSpec) -> bool:
    """Whether a tensor is an integer that training counts up, such as a batch norm's num_batches_tracked."""
    last = spec.name.rpartition(".")[2]
    return not spec.dtype.is_float and spec.numel == 1 and _COUNTER.search(last) is not None


def _counted(counters: Sequence[Aligned], keeper: CheckpointIndex, models: int) -> list[str]:
    """A note on integers that are not averaged."""
    if not counters or models == 1:
        return []
    one = len(counters) == 1
    return [
        f"{len(counters)} integer{' counts' if one else 's count'} steps of training, such as "
        f'{shown(counters[0].name)}: kept as in "{keeper.ref}"'
    ]


def _compared(copies: Sequence[Copy]) -> list[str]:
    """A note on what was read to compare tensors that were equal to their end."""
    read_bytes = sum(copy.read_bytes for copy in copies)
    return [f"{read_bytes:,} bytes were read to compare tied tensors"] if read_bytes else []


def promote(dtypes: Sequence[DType]) -> DType:
    """The smallest float type that holds every given one exactly; unlike half types promote to float32."""
    distinct = set(dtypes)
    if len(distinct) == 1:
        return distinct.pop()
    return DTYPES["F64"] if DTYPES["F64"] in distinct else DTYPES["F32"]
