"""How deep in its stack a tensor lies: a gradient runs over the layers of each stack by itself. Pure.

A stack is a list of layers: `model.layers.3.` is layer 3 of the stack `model.layers`. A model may have
several, an encoder and a decoder or a vision tower beside a language model; each runs from 0 to 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

#: The number after the outermost list of layers: model.layers.3., transformer.h.3., encoder.layer.3.
_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d{1,9})(?:\.|$)")
#: Parts of names below which layers only predict further tokens; most loaders leave them out.
PREDICTION_PARTS = ("mtp", "nextn")
#: What libraries call the number of layers, of any stack and of those of an encoder-decoder.
_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth")
_COUNTS_OF = {
    "encoder": ("encoder_layers", "num_encoder_layers"),
    "decoder": ("num_decoder_layers", "decoder_layers"),
}
#: Words for a part of a composite model, in its config's section and in its tensors' names.
_SAME_WORDS = (
    ("vision", "visual", "image", "vit"),
    ("audio", "speech"),
    ("text", "language", "llm"),
)
_BACKBONE = _SAME_WORDS[2]


def count_layers(tensor_names: Iterable[str], config: Mapping[str, Any]) -> dict[str, int]:
    """Count the layers of every stack that the names speak of.

    The count is config.json's own where it has one for the stack and the names go beyond it: layers stored
    beyond it are extra prediction layers. Otherwise it is the highest layer number plus one.

    Returns:
        stack (the part of the names before the number) -> number of layers.
    """
    stored: dict[str, int] = {}
    for name in tensor_names:
        if (found := _layer_of(name)) is not None:
            stack, layer = found
            stored[stack] = max(stored.get(stack, 0), layer + 1)
    counts = {}
    for stack, count in stored.items():
        told = _told(config, stack.split("."))
        counts[stack] = count if told is None else min(told, count)
    return counts


def layer_position(tensor_name: str, layers: Mapping[str, int]) -> float:
    """How deep a tensor lies in its stack: layer / (layers - 1), and 1 in a stack of one layer.

    Args:
        layers: what `count_layers` counted.

    Tensors outside the layers (embeddings, final norm, lm_head) are at 0, as in mergekit. Extra prediction
    layers are at 1.
    """
    found = _layer_of(tensor_name)
    if found is None:
        return 0.0
    stack, layer = found
    count = layers[stack]
    return min(layer / (count - 1), 1.0) if count > 1 and not _predicts(stack) else 1.0


def in_layers(tensor_name: str) -> bool:
    """Whether a tensor belongs to a layer of some stack."""
    return _layer_of(tensor_name) is not None


def is_prediction(tensor_name: str, layers: Mapping[str, int]) -> bool:
    """Whether a tensor belongs to an extra prediction layer: below `mtp`, or beyond its stack's own count."""
    if _predicts(tensor_name):
        return True
    found = _layer_of(tensor_name)
    return found is not None and found[1] >= layers.get(found[0], found[1] + 1)


def _layer_of(tensor_name: str) -> tuple[str, int] | None:
    """(stack, layer number) of a tensor; None outside of layers."""
    found = _LAYER.search(tensor_name)
    return None if found is None else (tensor_name[: found.start(1) - 1], int(found.group(1)))


def _predicts(name: str) -> bool:
    return any(part in PREDICTION_PARTS for part in name.split("."))


def _told(config: Mapping[str, Any], parts: Sequence[str]) -> int | None:
    """The number of layers that a config gives for the stack whose name has these parts.

    The section of the config whose word is in one of the parts is asked first, then the config itself, then
    its section of the language model, unless the parts speak of another modality.
    """
    for position, part in enumerate(parts):
        for key, section in config.items():
            if isinstance(section, Mapping) and any(word in part for word in _words(key)):
                told = _told(section, parts[position + 1 :])
                if told is not None:
                    return told
    if any(word in part for words in _SAME_WORDS[:2] for word in words for part in parts):
        return None
    told = _own(config, parts)
    if told is not None:
        return told
    sections = [
        section
        for key, section in config.items()
        if isinstance(section, Mapping) and any(word in key for word in _BACKBONE)
    ]
    return next((found for section in sections if (found := _told(section, parts)) is not None), None)


def _own(config: Mapping[str, Any], parts: Sequence[str]) -> int | None:
    """The number of layers that this very section gives, for an encoder or a decoder if that is asked for."""
    kinds = [kind for part in parts for kind in _COUNTS_OF if kind in part]
    first = _COUNTS_OF[kinds[0]] if kinds else ()
    last = () if kinds else _COUNTS_OF["encoder"] + _COUNTS_OF["decoder"]
    for key in (*first, *_COUNTS, *last):
        count = config.get(key)
        if type(count) is int and count > 0:
            return count
    return None


def _words(key: str) -> tuple[str, ...]:
    """What a section of a config may be called in the names of its tensors."""
    word = key.removesuffix("_config")
    return next((words for words in _SAME_WORDS if word in words), (word,) if word else ())
