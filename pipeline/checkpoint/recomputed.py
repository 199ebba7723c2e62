"""Buffers that some versions of a library store and others compute when they load a model.

Pure: decides on a tensor's name, type and shape alone.
"""

from __future__ import annotations

from pipeline.values import TensorSpec

_INDEX_BUFFERS = ("position_ids", "token_type_ids")


def is_recomputed(spec: TensorSpec) -> bool:
    """Whether loaders compute this tensor themselves: rotary frequencies, indices of positions, causal masks.

    A mask is told from the bias of a projection by its shape: [1, 1, n, n].
    """
    if spec.name.endswith("rotary_emb.inv_freq"):
        return True
    last = spec.name.rpartition(".")[2]
    if last in _INDEX_BUFFERS:
        return not spec.dtype.is_float
    if last == "masked_bias":
        return spec.numel == 1
    square = len(spec.shape) == 4 and spec.shape[:2] == (1, 1) and spec.shape[2] == spec.shape[3]
    return last == "bias" and square and spec.shape[3] > 1
