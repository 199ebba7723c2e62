"""What config.json says of the weights, compared as loaded: defaults filled in, old and new spellings alike.

The library that loads configs is imported only where two files differ in a key that matters; it gets plain
data, reaches no network and runs no code of a model.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from pipeline.meaning.differences import Difference, find_differences
from pipeline.untrusted import canonical_json, parse_json

#: Keys that say how a model was stored, trained or called, not what its weights compute.
_NO_MEANING = {
    *("transformers_version", "dtype", "torch_dtype", "use_cache", "name_or_path", "label2id"),
    *("output_attentions", "output_hidden_states", "return_dict", "torchscript", "use_bfloat16"),
    *("attn_implementation", "attention_implementation", "gradient_checkpointing", "pretraining_tp"),
    *("initializer_range", "initializer_factor", "finetuning_task", "problem_type", "mergescale"),
}
_NO_MEANING_PARTS = ("dropout", "pdrop", "layerdrop", "unsloth")
#: Keys that only name classes: a model without them is no other model.
_NAMES_ONLY = ("architectures", "auto_map")
#: Configs whose counts are beyond this would make the library build lists of that length.
_MOST_COUNTED = 100_000


def config_differences(reference: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    """The keys in which two models' configs differ in meaning, `model_type` first where it does.

    Models of different types are compared in the keys that both have.
    """
    if not any(True for _ in find_differences(reference, other, skip=has_no_meaning)):
        return []
    found = list(_loaded_differences(reference, other))
    if reference.get("model_type") != other.get("model_type"):
        shared = [each for each in found if None not in (each.reference, each.other)]
        return sorted(shared, key=lambda each: each.path != "model_type")
    return found


def has_no_meaning(key: str) -> bool:
    """Whether a key of a config does not change what the weights compute when they are used."""
    return key.startswith("_") or key in _NO_MEANING or any(part in key for part in _NO_MEANING_PARTS)


def _loaded_differences(reference: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Difference]:
    sides = [_load(canonical_json(reference)), _load(canonical_json(other))]
    if None in sides:
        sides = [(_tidy(reference), frozenset()), (_tidy(other), frozenset())]
    (ours, our_extras), (theirs, their_extras) = (side for side in sides if side is not None)
    own_code = "auto_map" in reference or "auto_map" in other
    for each in find_differences(ours, theirs, skip=has_no_meaning):
        one_sided = each.reference is None or each.other is None
        names_only = each.path.rpartition(".")[2].partition("[")[0] in _NAMES_ONLY or "auto_map." in each.path
        # A key that the library's class does not have is the old spelling of another, which is compared.
        leftover = each.path in our_extras | their_extras and not own_code
        if not (one_sided and (names_only or leftover)):
            yield each


@lru_cache(maxsize=64)
def _load(raw: str) -> tuple[dict[str, Any], frozenset[str]] | None:
    """A config as the library loads it, and the paths of keys its classes do not have; None: it cannot."""
    table = parse_json(raw)
    if not isinstance(table.get("model_type"), str) or _counts_too_much(table):
        return None
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if table["model_type"] not in CONFIG_MAPPING:
        return None
    extras: set[str] = set()
    try:
        with _quiet_and_offline():
            config = CONFIG_MAPPING[table["model_type"]].from_dict(copy.deepcopy(table))
            return _as_data(config, "", extras), frozenset(extras)
    except Exception:  # noqa: BLE001 - classes of the library raise anything: then plain data is compared
        return None


def _as_data(config: Any, path: str, extras: set[str]) -> dict[str, Any]:
    """A loaded config as plain data; adds the paths of keys that its class does not have to `extras`."""
    table = config.to_dict()
    known = _keys_of(type(config))
    for key in table:
        below = f"{path}.{key}" if path else str(key)
        nested = getattr(config, str(key), None)
        if hasattr(nested, "to_dict") and hasattr(nested, "model_type"):
            table[key] = _as_data(nested, below, extras)
        if known and key not in known:
            extras.add(below)
    table["model_type"] = config.model_type
    tidy: dict[str, Any] = _tidy(_textual(table))
    return tidy


def _keys_of(kind: type[Any]) -> Collection[str]:
    """The keys that a class of configs has; none where it cannot be made without values."""
    try:
        return set(kind().to_dict())
    except Exception:  # noqa: BLE001 - as above
        return ()


def _textual(value: Any) -> Any:
    """The value with keys as JSON has them, and what JSON does not have as text."""
    if isinstance(value, Mapping):
        return {str(key): _textual(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_textual(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _tidy(value: Any) -> Any:
    """Two spellings that loading leaves apart made one: `type` beside `rope_type`, names of classes."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    tidy = {key: _tidy(item) for key, item in value.items() if key != "type" or "rope_type" not in value}
    if isinstance(tidy.get("architectures"), list):
        tidy["architectures"] = [str(name).lower() for name in tidy["architectures"]]
    if isinstance(tidy.get("auto_map"), Mapping):
        tidy["auto_map"] = {key: _class_name(target) for key, target in tidy["auto_map"].items()}
    return tidy


def _class_name(target: Any) -> Any:
    """The class that an entry of `auto_map` names, without the repository it lies in."""
    if isinstance(target, list):
        return [_class_name(each) for each in target]
    return target.rpartition("--")[2] if isinstance(target, str) else target


def _counts_too_much(value: Any, key: str = "") -> bool:
    """Return whether loading a config would fill the memory: it asks for too many layers or labels."""
    if isinstance(value, Mapping):
        return any(_counts_too_much(item, str(name)) for name, item in value.items())
    counts = key.startswith(("num_", "n_")) or "layer" in key or "depth" in key
    numbers = value if isinstance(value, list) else [value]
    return counts and any(isinstance(each, int | float) and each > _MOST_COUNTED for each in numbers)


@contextmanager
def _quiet_and_offline() -> Iterator[None]:
    """Inside, the library says nothing and reaches no network."""
    from huggingface_hub import constants
    from transformers.utils import logging

    offline, verbosity = constants.HF_HUB_OFFLINE, logging.get_verbosity()
    constants.HF_HUB_OFFLINE = True
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        logging.set_verbosity(verbosity)
