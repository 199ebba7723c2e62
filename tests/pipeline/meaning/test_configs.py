"""Two configs are told apart by what they mean once loaded, and by nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.meaning.configs import config_differences

ROOT = Path(__file__).parents[3]
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
}
NEW_ROPE = {"rope_type": "default", "rope_theta": 10000.0}


def without(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The config without some keys."""
    return {key: value for key, value in config.items() if key not in keys}


def found(reference: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Path -> (the reference's value, the other's)."""
    return {each.path: (each.reference, each.other) for each in config_differences(reference, other)}


@pytest.mark.parametrize(
    "other",
    [
        without(LLAMA, "rope_theta") | {"rope_parameters": NEW_ROPE},
        without(LLAMA, "rope_theta"),
        LLAMA | {"rope_scaling": None, "attention_bias": False},
        LLAMA | {"torch_dtype": "float16", "transformers_version": "4.40.0", "_name_or_path": "x"},
        LLAMA | {"dtype": "bfloat16", "use_cache": False, "attention_dropout": 0.1},
        LLAMA | {"architectures": ["LlamaForCausalLM"], "initializer_range": 0.5},
        LLAMA | {"max_length": 20, "do_sample": True},
        LLAMA | {"num_attention_heads": 4.0},
    ],
)
def test_one_config_in_two_spellings_is_one(other: dict[str, Any]) -> None:
    """Old and new spellings, defaults written out or left out, and keys without meaning are no difference."""
    assert found(LLAMA, other) == {}
    assert found(other, LLAMA) == {}


def test_older_spellings_of_scaled_and_local_rotations_are_one() -> None:
    """A library's older keys for rotations are the newer ones, also where layers differ in them."""
    scaled = {"type": "linear", "factor": 2.0}
    new = without(LLAMA, "rope_theta") | {
        "rope_parameters": {**NEW_ROPE, "rope_type": "linear", "factor": 2.0}
    }
    assert found(LLAMA | {"rope_scaling": scaled}, new) == {}
    old = {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6}
    assert found({"model_type": "gemma3_text"}, {"model_type": "gemma3_text", **old}) == {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"rope_theta": 1e6}, {"rope_parameters.rope_theta": (10000.0, 1e6)}),
        ({"num_attention_heads": 8, "head_dim": 8}, {"num_attention_heads": (4, 8)}),
        ({"rms_norm_eps": 1e-5}, {"rms_norm_eps": (1e-6, 1e-5)}),
        ({"hidden_act": "gelu"}, {"hidden_act": ("silu", "gelu")}),
        ({"tie_word_embeddings": True}, {"tie_word_embeddings": (False, True)}),
        ({"eos_token_id": [2, 5]}, {"eos_token_id": (2, [2, 5])}),
        (
            {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
            {"rope_parameters.rope_type": ("default", "linear"), "rope_parameters.factor": (None, 2.0)},
        ),
    ],
)
def test_every_key_that_changes_what_weights_mean_is_named(
    change: dict[str, Any], expected: dict[str, tuple[Any, Any]]
) -> None:
    """Each differing key stands with both values, and a default that one file leaves out has its value."""
    assert found(LLAMA, LLAMA | change) == expected


def test_order_of_labels_counts() -> None:
    """Two classifiers that number their labels otherwise differ; both ways to write the numbers are one."""
    labels = {"model_type": "bert", "id2label": {"0": "bad", "1": "good"}}
    assert found(labels, labels | {"label2id": {"bad": 0, "good": 1}}) == {}
    assert found(labels, {"model_type": "bert", "id2label": {"0": "good", "1": "bad"}}) == {
        "id2label.0": ("bad", "good"),
        "id2label.1": ("good", "bad"),
    }


def test_nested_configs_are_compared_by_path() -> None:
    """A part of a model of several parts is loaded as its own type, with that type's defaults."""
    part = {"model_type": "llama", "rope_theta": 10000.0}
    composite = {"model_type": "llava", "text_config": part}
    assert found(composite, {"model_type": "llava", "text_config": without(part, "rope_theta")}) == {}
    assert found(composite, {"model_type": "llava", "text_config": part | {"rope_theta": 5e5}}) == {
        "text_config.rope_parameters.rope_theta": (10000.0, 5e5)
    }


def test_another_type_is_named_first() -> None:
    """Models of different types differ in their type, and else in what both have."""
    paths = list(found(LLAMA, LLAMA | {"model_type": "mistral", "rms_norm_eps": 1e-5}))
    assert paths[0] == "model_type"
    assert "rms_norm_eps" in paths
    assert "sliding_window" not in paths, "only one of the types has it"


@pytest.mark.parametrize(
    "kind",
    [
        {"model_type": "nobody-knows-it"},
        {"architectures": ["Own"]},
        {"model_type": "llama", "num_hidden_layers": 10**12},
        {"model_type": "bert", "num_labels": 10**12},
        {"model_type": "llama", "num_attention_heads": "four"},
        {"model_type": "detr", "backbone": "org/backbone", "use_timm_backbone": False},
    ],
)
def test_what_the_library_cannot_load_is_compared_as_it_stands(kind: dict[str, Any]) -> None:
    """An unknown type, absurd counts, wrong types and names of models elsewhere are compared key by key."""
    one = {**kind, "eps": 1.0, "deep": {"list": [1, 2]}}
    other = {**kind, "eps": 2.0, "deep": {"list": [1, 3]}}
    assert found(one, other) == {"eps": (1.0, 2.0), "deep.list[1]": (2, 3)}
    assert found(one, {**one, "torch_dtype": "float16"}) == {}


def test_numbers_that_are_not_finite_equal_themselves() -> None:
    """`Infinity` and `NaN`, which configs of real models hold, are values like others."""
    limits = {"model_type": "mamba2", "time_step_limit": [0.0, float("inf")]}
    assert found(limits, {"model_type": "mamba2"}) == {}
    assert found({"x": float("nan"), "y": 1}, {"x": float("nan"), "y": 2}) == {"y": (1, 2)}


def test_the_library_is_imported_only_where_a_key_that_matters_differs() -> None:
    """Configs that differ in how a model was stored alone cost no import of transformers."""
    code = """
import sys
from pipeline.meaning.configs import config_differences
one = {"model_type": "llama", "rms_norm_eps": 1e-6, "torch_dtype": "float32"}
assert not config_differences(one, {**one, "torch_dtype": "float16", "transformers_version": "1"})
assert not {"torch", "transformers"} & set(sys.modules)
assert config_differences(one, {**one, "rms_norm_eps": 1e-5})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
