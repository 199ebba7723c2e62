"""Models that cannot be merged whatever stands beside them: quantised or empty. Headers and config only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.checkpoint.index import CheckpointIndex
from pipeline.checkpoint.recomputed import is_recomputed
from pipeline.errors import CheckpointError, shown
from pipeline.values import TensorSpec

#: Last parts of names under which quantised weights and what belongs to them are stored.
_QUANTISED = ("qweight", "qzeros", "absmax", "quant_map", "nested_absmax", "nested_quant_map", "SCB", "W_q")
_PACKED = ("weight_packed", "weight_zero_point")
_KEYS = ("quantization_config", "compression_config")


def check_fit(indexes: Sequence[CheckpointIndex]) -> list[str]:
    """Raise CheckpointError for a model that is quantised or holds empty tensors, naming model and tensor.

    Returns notes on models that call themselves quantised and store floats.
    """
    notes = []
    for index in indexes:
        notes += _check_quantised(index)
        _check_empty(index, indexes)
    return list(dict.fromkeys(notes))


def _check_quantised(index: CheckpointIndex) -> list[str]:
    """Weights that are integers mean nothing without their scales; a note where only the config says so."""
    how = _quantisation(index.config)
    packed = next((one for one in index.tensors.values() if _is_packed(one.spec, told=how is not None)), None)
    if packed is not None:
        raise CheckpointError(
            f'model "{index.ref}" is quantised{f" ({how})" if how else ""}',
            where=f"{packed.file}: tensor {shown(packed.spec.name)}",
            expected="weights stored as float16, bfloat16, float32 or float64",
            found=f"{packed.spec.dtype.name} {list(packed.spec.shape)}",
            hint="merge the model it was quantised from, or dequantise it first",
        )
    if how is None:
        return []
    return [
        f'"{index.ref}": config.json says that it is quantised ({how}), but its weights are floats and are '
        "merged as such"
    ]


def _is_packed(spec: TensorSpec, *, told: bool) -> bool:
    """Whether a tensor is a quantised weight, or what only such a weight has beside it.

    told: whether config.json says that the model is quantised, so that any matrix of integers is one.
    """
    parts = spec.name.split(".")
    if parts[-1] in (*_QUANTISED, *_PACKED) or "quant_state" in parts:
        return True
    integer = not spec.dtype.is_float and spec.dtype.name != "bool"
    named = parts[-1] == "weight" or parts[-1].endswith("_blocks") or (told and not is_recomputed(spec))
    return integer and len(spec.shape) >= 2 and named


def _quantisation(config: Mapping[str, Any]) -> str | None:
    """What a config says of quantisation, itself or in a section: the method's name; None where nothing."""
    for key in _KEYS:
        told = config.get(key)
        if isinstance(told, Mapping) and told:
            method = told.get("quant_method") or next(
                (
                    name.removeprefix("load_in_")
                    for name, value in told.items()
                    if name.startswith("load_in_") and value is True
                ),
                "an unnamed method",
            )
            return shown(method, 40)
    sections = [value for value in config.values() if isinstance(value, Mapping)]
    return next((found for section in sections if (found := _quantisation(section)) is not None), None)


def _check_empty(index: CheckpointIndex, others: Sequence[CheckpointIndex]) -> None:
    """Tensors without elements where others have some: one process of a sharded run saved its own share."""
    empty = [name for name, entry in index.tensors.items() if entry.spec.numel == 0]
    odd = [
        name
        for name in empty
        if len(empty) == len(index.tensors)
        or any(name in other.tensors and other.tensors[name].spec.numel for other in others)
    ]
    if odd:
        entry = index.tensors[odd[0]]
        raise CheckpointError(
            f'model "{index.ref}" holds empty tensors: {len(odd)} of {len(index.tensors)} have no elements',
            where=f"{entry.file}: tensor {shown(odd[0])}",
            expected="the whole of every weight",
            found=f"shape {list(entry.spec.shape)}",
            hint="save the gathered model: one process of a sharded run (FSDP, ZeRO-3) saved its share alone",
        )
