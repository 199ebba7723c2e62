"""How a model generates by default: generation_config.json, compared; end tokens above all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.meaning.differences import Difference, find_differences

GENERATION_NAME = "generation_config.json"
#: Keys that config.json states where there is no generation config.
_TOKEN_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
_NO_MEANING = {"transformers_version", "use_cache", "cache_implementation", "return_dict_in_generate"}
#: What generation takes for a key that is not given.
_DEFAULTS: dict[str, Any] = {
    "max_length": 20, "min_length": 0, "do_sample": False, "early_stopping": False, "num_beams": 1,
    "temperature": 1.0, "top_k": 50, "top_p": 1.0, "typical_p": 1.0, "repetition_penalty": 1.0,
    "length_penalty": 1.0, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0,
    "num_return_sequences": 1, "num_beam_groups": 1, "diversity_penalty": 0.0, "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0, "remove_invalid_values": False, "encoder_repetition_penalty": 1.0,
    "output_attentions": False, "output_hidden_states": False, "output_scores": False,
}  # fmt: skip


def generation_differences(
    reference: tuple[Mapping[str, Any] | None, Mapping[str, Any]],
    other: tuple[Mapping[str, Any] | None, Mapping[str, Any]],
) -> list[Difference]:
    """The keys in which two models' defaults of generation differ.

    Args:
        reference, other: of each model its generation config, None without one, and its config. A model
            without a generation config has the token ids of its config, and no other key is compared.
    """
    both = reference[0] is not None and other[0] is not None
    if reference[0] is None and other[0] is None:
        return []
    sides = [_effective(*side, every_key=both) for side in (reference, other)]
    return list(find_differences(*sides, skip=lambda key: key.startswith("_") or key in _NO_MEANING))


def _effective(
    generation: Mapping[str, Any] | None, config: Mapping[str, Any], *, every_key: bool
) -> dict[str, Any]:
    """The keys that count, each with the value that generation uses; one end token as a list of one."""
    given = generation or {}
    text_config = config.get("text_config")
    below = text_config if isinstance(text_config, Mapping) else {}
    found = {key: given.get(key, config.get(key, below.get(key))) for key in _TOKEN_KEYS}
    if every_key:
        found = {key: given.get(key) for key in _TOKEN_KEYS} | {**_DEFAULTS, **_given(given)}
    ends = found["eos_token_id"]
    return {**found, "eos_token_id": ends if ends is None or isinstance(ends, list) else [ends]}


def _given(generation: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in generation.items() if value is not None}
