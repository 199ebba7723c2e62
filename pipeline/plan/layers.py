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
    "encoder": ("encoder_layers", "num_encoder_layers", "encoder_num_hidden_layers", "encoder_num_layers"),
    "decoder": ("num_decoder_layers", "decoder_layers", "decoder_num_hidden_layers", "decoder_num_layers"),
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
    beyond it are extra prediction layers. Otherwise it is the highest layer number plus one. Where an encoder
    and a decoder differ in length, a count without a kind is of neither unless the config tells whose it is.

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
        told = _told(config, stack.split("."), contested=_is_contested(stack, stored))
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


def _is_contested(stack: str, stored: Mapping[str, int]) -> bool:
    """Whether a stack of the other kind, of another length, lies beside this encoder or decoder."""
    found = _side(stack)
    if found is None:
        return False
    beside, kind = found
    return any(
        (there := _side(other)) is not None and there[0] == beside and there[1] != kind
        for other, count in stored.items()
        if count != stored[stack] and not _is_other_modality(other.split("."))
    )


def _side(stack: str) -> tuple[list[str], str] | None:
    """(the parts before the one that says encoder or decoder, which of them it says); None for neither."""
    parts = stack.split(".")
    return next(
        ((parts[:place], kind) for place, part in enumerate(parts) for kind in _COUNTS_OF if kind in part),
        None,
    )


def _is_other_modality(parts: Sequence[str]) -> bool:
    return any(word in part for words in _SAME_WORDS[:2] for word in words for part in parts)


def _told(config: Mapping[str, Any], parts: Sequence[str], *, contested: bool) -> int | None:
    """The number of layers that a config gives for the stack whose name has these parts.

    The section of the config whose word is in one of the parts is asked first, then the config itself, then
    its section of the language model, unless the parts speak of another modality.
    contested: as `_own` takes it; the section of one kind of stack tells of that stack alone.
    """
    for position, part in enumerate(parts):
        for key, section in config.items():
            if isinstance(section, Mapping) and any(word in part for word in _words(key)):
                shared = contested and not any(kind in key for kind in _COUNTS_OF)
                told = _told(section, parts[position + 1 :], contested=shared)
                if told is not None:
                    return told
    if _is_other_modality(parts):
        return None
    told = _own(config, parts, contested=contested)
    if told is not None:
        return told
    sections = [
        section
        for key, section in config.items()
        if isinstance(section, Mapping) and any(word in key for word in _BACKBONE)
    ]
    tellings = (_told(section, parts, contested=contested) for section in sections)
    return next((told for told in tellings if told is not None), None)


def _own(config: Mapping[str, Any], parts: Sequence[str], *, contested: bool) -> int | None:
    """The number of layers that this very section gives, for an encoder or a decoder if that is asked for.

    contested: whether a count without a kind may be that of another stack. It is the encoder's where the
    decoder has a key of its own, as in T5; a decoder's it never is, since libraries mirror the encoder in it.
    """
    kinds = [kind for part in parts for kind in _COUNTS_OF if kind in part]
    first = _COUNTS_OF[kinds[0]] if kinds else ()
    last = () if kinds else _COUNTS_OF["encoder"] + _COUNTS_OF["decoder"]
    encoders = kinds[:1] == ["encoder"] and _first(config, _COUNTS_OF["decoder"]) is not None
    return _first(config, (*first, *(() if contested and not encoders else _COUNTS), *last))


def _first(config: Mapping[str, Any], keys: Iterable[str]) -> int | None:
    """The first of the counts under these keys that is one."""
    counts = (config.get(key) for key in keys)
    return next((count for count in counts if type(count) is int and count > 0), None)


def _words(key: str) -> tuple[str, ...]:
    """What a section of a config may be called in the names of its tensors."""
    word = key.removesuffix("_config")
    return next((words for words in _SAME_WORDS if word in words), (word,) if word else ())
