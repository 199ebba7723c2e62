"""About how much memory training one expert takes, from headers and text alone. Reads no weights.

Measured peaks of a unit on one core in fp32, batches of about 2,000 tokens: 1.07 GB for 11.6 million
parameters, 2.87 GB for 57.3 million, where the sum below (with the true tokens) is 1.13 and 2.89 GB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pipeline.checkpoint.index import CheckpointIndex
from pipeline.training.examples import Example
from pipeline.training.settings import TrainSettings

#: Python with torch and transformers.
_FIXED_BYTES = 700 << 20
#: The same with CUDA's libraries and context.
_FIXED_ON_GPU_BYTES = 4 << 30
#: fp32 weights as they are loaded, and a copy as they are saved.
_PASSING_BYTES_PER_PARAMETER = 8
#: fp32 weight and gradient, two moments of AdamW, and what is copied.
_BYTES_PER_PARAMETER = 20
#: What each layer keeps for the backward pass, by token and hidden unit.
_BYTES_PER_ACTIVATION = 80
#: Fewer than in English, so that other languages fit too.
_CHARACTERS_PER_TOKEN = 3


def memory_bytes(
    base: CheckpointIndex, rows: Sequence[Example], settings: TrainSettings, device: str = "cpu"
) -> int:
    """Bytes of the machine's memory that one expert takes at its peak: parameters, and the activations of its
    largest batch. On a GPU, without DeepSpeed to put states here, only weights pass through.
    """
    parameters = sum(entry.spec.numel for entry in base.tensors.values())
    if device == "cuda" and settings.deepspeed is None:
        return _FIXED_ON_GPU_BYTES + _PASSING_BYTES_PER_PARAMETER * parameters
    lengths = sorted(
        min(settings.max_length, math.ceil((len(row.question) + len(row.answer)) / _CHARACTERS_PER_TOKEN))
        for row in rows
    )
    tokens = sum(lengths[-settings.batch_size :])
    config: dict[str, Any] = dict(base.config)
    config |= config.get("text_config") or {}
    units = int(config.get("hidden_size", 0)) * int(config.get("num_hidden_layers", 0))
    return _FIXED_BYTES + _BYTES_PER_PARAMETER * parameters + _BYTES_PER_ACTIVATION * tokens * units
