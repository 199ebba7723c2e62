"""Line the models' tensors up by name, or say exactly which model and tensor does not fit. Headers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.checkpoint.index import CheckpointIndex, TensorEntry
from pipeline.errors import CheckpointError
from pipeline.values import DTYPES, DType

#: Buffers that some library versions store and others recompute; dropped unless every model has them.
_OPTIONAL_SUFFIXES = ("rotary_emb.inv_freq",)
_TIED_NAMES = ("lm_head.weight",)
#: Parts of the names that architectures give their input embedding.
_EMBEDDINGS = ("embed", "wte")


@dataclass(frozen=True)
class Aligned:
    """One tensor in all models, in the order the models were given."""

    name: str
    entries: tuple[TensorEntry, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape all models agree on."""
        return self.entries[0].spec.shape


def align(indexes: Sequence[CheckpointIndex]) -> tuple[tuple[Aligned, ...], tuple[str, ...]]:
    """Aligned tensors by name in the first model's file order, and notes on tensors left out.

    Raises CheckpointError naming model and tensor for a missing or extra tensor, another shape, or a float
    tensor beside one that is not.
    """
    dropped, notes = _droppable(indexes)
    names = [name for name in indexes[0].tensors if name not in dropped]
    for index in indexes[1:]:
        _same_names(indexes[0], index, dropped)
    aligned = tuple(Aligned(name, tuple(index.tensors[name] for index in indexes)) for name in names)
    for row in aligned:
        for index, entry in zip(indexes, row.entries, strict=True):
            _same_shape_and_kind(indexes[0], row.entries[0], index, entry)
    return aligned, notes


def _droppable(indexes: Sequence[CheckpointIndex]) -> tuple[set[str], tuple[str, ...]]:
    """Names that carry nothing of their own: tied copies, and buffers that are recomputed on loading."""
    everywhere = set.intersection(*(set(index.tensors) for index in indexes))
    anywhere = set.union(*(set(index.tensors) for index in indexes))
    optional = {name for name in anywhere - everywhere if name.endswith(_OPTIONAL_SUFFIXES)}
    tied = all(index.config.get("tie_word_embeddings") for index in indexes)
    copies = {name for name in anywhere if tied and name in _TIED_NAMES and _input_embedding(name, indexes)}
    notes = [
        f"{name} is left out: not every model stores it and it is recomputed" for name in sorted(optional)
    ]
    notes += [f"{name} is left out: the config ties it to the input embedding" for name in sorted(copies)]
    return optional | copies, tuple(notes)


def _input_embedding(head: str, indexes: Sequence[CheckpointIndex]) -> bool:
    """Whether every model stores the embedding that a tied head copies; some store the head alone."""
    shapes = {index.tensors[head].spec.shape for index in indexes if head in index.tensors}
    return all(
        any(
            entry.spec.shape in shapes and any(part in name for part in _EMBEDDINGS)
            for name, entry in index.tensors.items()
            if name != head
        )
        for index in indexes
    )


def _same_names(first: CheckpointIndex, other: CheckpointIndex, dropped: set[str]) -> None:
    missing = [name for name in first.tensors if name not in other.tensors and name not in dropped]
    extra = [name for name in other.tensors if name not in first.tensors and name not in dropped]
    if not missing and not extra:
        return
    what, names = ("misses", missing) if missing else ("has extra", extra)
    raise CheckpointError(
        f'model "{other.ref}" {what} tensor "{names[0]}"'
        + (f" and {len(names) - 1} more" if len(names) > 1 else ""),
        where=other.directory,
        expected=f'the {len(first.tensors)} tensor names of "{first.ref}"',
        found=f"{len(missing)} missing, {len(extra)} extra: {', '.join((missing + extra)[:5])}",
        hint="merge models of one architecture; check that the checkpoint is complete",
    )


def _same_shape_and_kind(
    first: CheckpointIndex, wanted: TensorEntry, other: CheckpointIndex, found: TensorEntry
) -> None:
    name = wanted.spec.name
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
    if found.spec.dtype.is_float != wanted.spec.dtype.is_float:
        raise CheckpointError(
            f'tensor "{name}" is stored as another kind of number in model "{other.ref}"',
            where=found.file,
            expected=f'{wanted.spec.dtype.name} as in "{first.ref}"',
            found=found.spec.dtype.name,
            hint="quantised checkpoints cannot be merged: dequantise the model first",
        )


def promote(dtypes: Sequence[DType]) -> DType:
    """The smallest float type that holds every given one exactly; unlike half types promote to float32."""
    distinct = set(dtypes)
    if len(distinct) == 1:
        return distinct.pop()
    return DTYPES["F64"] if DTYPES["F64"] in distinct else DTYPES["F32"]
