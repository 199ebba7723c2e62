"""Tied tensors: which stored ones are copies of another one, told by their bytes and never by a flag alone.

A config that says "tied" says what loaders do where the file has no head of its own. Where it has one they
keep it, so it is merged like any tensor unless its bytes are those of what it copies. Comparing reads both
tensors, the first 64 KiB where they differ; nothing is held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.checkpoint.compare import same_bytes
from pipeline.checkpoint.index import CheckpointIndex
from pipeline.errors import shown
from pipeline.plan.layers import in_layers
from pipeline.plan.tied_defaults import TIED_BY_DEFAULT
from pipeline.values import TensorSpec

_FLAG = "tie_word_embeddings"
#: Parts of the names that architectures give their input embedding, and of tables that nothing is tied to.
_EMBEDDINGS, _OTHER_TABLES = ("embed", "wte", "shared"), ("position", "token_type")
#: The parts before `.weight` in the names of output matrices.
_HEADS = (
    *("lm_head", "generator_lm_head", "embed_out", "decoder", "output", "output_layer", "output_projection"),
    *("proj_out", "vocab_projector", "lm_loss"),
)


@dataclass(frozen=True)
class Copy:
    """A tensor that loaders take from `original` where it is not stored.

    fate: "left out" of the merged model; "equal", which every input has and the merged model keeps, equal to
    its original; "own", which has values of its own in some model and is merged like any tensor.
    read_bytes: what comparing it read.
    """

    name: str
    original: str
    fate: Literal["left out", "equal", "own"]
    note: str
    read_bytes: int = 0


def find_copies(
    indexes: Sequence[CheckpointIndex], companion: CheckpointIndex, *, random: bool
) -> list[Copy]:
    """Find the tensors that are stored beside what they are tied to.

    Args:
        indexes: the models of a merge.  companion: the one whose config the merged model gets.
        random: whether the method drops entries at random, so that equal tensors may come out unlike.

    A model that stores no such tensor has that of its original, unless its config says that it is not tied.
    Bytes are read only where the answer matters: a config ties, a model lacks the tensor, or `random`.
    Raises as `same_bytes` does.
    """
    names = dict.fromkeys(name for index in indexes for name in index.tensors)
    candidates = [name for name in names if _may_be_copy(_spec(name, indexes))]
    everywhere = [name for name in candidates if all(name in index.tensors for index in indexes)]
    ties = random or any(_is_tied(index) for index in indexes)
    found: list[Copy] = []
    for name in candidates:
        if not ties and name in everywhere:
            continue
        originals = [
            other
            for other in everywhere
            if other != name
            and (_rank(other) < _rank(name) or name not in everywhere)
            and _like(name, other, indexes)
        ]
        copy = _judge(name, sorted(originals, key=_rank), indexes, companion)
        found.extend([] if copy is None else [copy])
    return found


def _judge(
    name: str, originals: Sequence[str], indexes: Sequence[CheckpointIndex], companion: CheckpointIndex
) -> Copy | None:
    """What becomes of a tensor that may copy one of `originals`; None where it is a tensor like any other."""
    storing = [index for index in indexes if name in index.tensors]
    lacking = [index for index in indexes if name not in index.tensors]
    inner = _is_embedding(name) or name.endswith(".bias")  # tied by the architecture, whatever the flag says
    if not originals or (not inner and any(_flag(index.config) is False for index in lacking)):
        return None
    for original in originals:
        if all(same_bytes(one, one.tensors[name], one, one.tensors[original]) for one in storing):
            # An ignored base gives its config alone: what it stores says nothing of the merged model.
            lacks = any(index is companion for index in lacking)
            return _equal(name, original, storing, left_out=lacks or _is_tied(companion))
    if _is_head(name) and all(_is_tied(index) for index in lacking or [companion]):
        return _own(name, originals[0], storing, lacking)
    return None


def _equal(name: str, original: str, storing: Sequence[CheckpointIndex], *, left_out: bool) -> Copy:
    """A copy with the bytes of its original wherever it is stored."""
    read_bytes = sum(2 * index.tensors[name].spec.size_bytes for index in storing)
    equals = f"{shown(name)} equals {shown(original)} byte for byte in every model that stores both"
    if left_out:
        note = f"{equals}: it is left out, and tied again on loading"
        return Copy(name, original, "left out", note, read_bytes)
    return Copy(name, original, "equal", f"{equals}: it stays so in the merged model", read_bytes)


def _own(
    name: str, original: str, storing: Sequence[CheckpointIndex], lacking: Sequence[CheckpointIndex]
) -> Copy:
    """A tensor that a config calls tied and that has values of its own in some model."""
    other = next(
        index
        for index in storing
        if not same_bytes(index, index.tensors[name], index, index.tensors[original])
    )
    note = (
        f"{shown(name)} is merged like any tensor: the config ties it to {shown(original)}, but "
        f'"{shown(other.ref)}" stores other values, which loaders keep'
    )
    if lacking:
        note += f'; where it is not stored, as in "{shown(lacking[0].ref)}", it is {shown(original)}'
    return Copy(name, original, "own", note)


def _may_be_copy(spec: TensorSpec) -> bool:
    """Whether a tensor may be tied to another one: a matrix, or the bias of a head, outside of the layers."""
    if in_layers(spec.name):
        return False
    if len(spec.shape) == 1:
        return spec.name.endswith(".bias")
    return len(spec.shape) == 2 and spec.name.endswith("weight")


def _like(name: str, original: str, indexes: Sequence[CheckpointIndex]) -> bool:
    """Whether the names and shapes allow that one tensor is tied to the other."""
    if name.endswith(".bias"):
        return name.endswith(".decoder.bias") and original == f"{name.removesuffix('.decoder.bias')}.bias"
    if not (_is_embedding(original) or (_is_head(original) and _is_embedding(name))):
        return False
    return all(
        index.tensors[name].spec.shape == index.tensors[original].spec.shape
        for index in indexes
        if name in index.tensors
    )


def _is_embedding(name: str) -> bool:
    return any(word in name for word in _EMBEDDINGS) and not any(word in name for word in _OTHER_TABLES)


def _is_head(name: str) -> bool:
    parts = name.split(".")
    return not _is_embedding(name) and parts[-1] == "weight" and parts[-2:-1] != [] and parts[-2] in _HEADS


def _rank(name: str) -> tuple[bool, bool, bool, int, str]:
    """Originals before copies: the shared table, then other embeddings, then heads."""
    inner = any(word in name for word in ("encoder", "decoder"))
    return (not _is_embedding(name), "shared" not in name, inner, len(name), name)


def _is_tied(index: CheckpointIndex) -> bool:
    """Whether loaders tie the head of this model where its file has none."""
    flag = _flag(index.config)
    return flag if flag is not None else index.config.get("model_type") in TIED_BY_DEFAULT


def _flag(config: Mapping[str, Any]) -> bool | None:
    """What a config says of tying: itself, else its sections, of which one that ties is enough; else None."""
    told = config.get(_FLAG)
    if isinstance(told, bool):
        return told
    sections = [section for section in config.values() if isinstance(section, Mapping)]
    answers = {flag for section in sections if (flag := _flag(section)) is not None}
    return any(answers) if answers else None


def _spec(name: str, indexes: Sequence[CheckpointIndex]) -> TensorSpec:
    return next(index.tensors[name].spec for index in indexes if name in index.tensors)
