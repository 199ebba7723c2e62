"""Filters, gradients and precedence: facts observed by running mergekit 0.1.5 on three layers, and laws."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from pipeline.config.load import parse_config
from pipeline.errors import ConfigError
from pipeline.methods import CATALOGUE, load_method
from pipeline.methods.contract import Method
from pipeline.plan.layers import count_layers, layer_position
from pipeline.plan.rules import experts_of, settings_for, unmatched_filters
from tests.helpers.toy_methods import DELTAS, toys

pytestmark = pytest.mark.usefixtures("toys")
__all__ = ["toys"]

EMBED, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
UP, QUERY = "model.layers.{}.mlp.up_proj.weight", "model.layers.{}.self_attn.q_proj.weight"
#: The tensors of the observations below, in their order.
NAMES = [EMBED, UP.format(0), QUERY.format(0), UP.format(1), QUERY.format(1), UP.format(2), NORM, HEAD]
MLP_ONLY = [{"filter": "mlp", "value": 0.1}]


def resolved(own: dict[str, Any], whole: dict[str, Any], name: str, layers: int = 3) -> dict[str, Any]:
    """The knobs of one tensor, with one expert that has the parameters `own`."""
    models = [{"model": "a", "parameters": own}]
    config = parse_config(
        {"merge_method": "toy_deltas", "base_model": "b", "models": models, "parameters": whole}, "m.yaml"
    )
    counts = count_layers([UP.format(layers - 1)], {})
    return settings_for(config, DELTAS, name, layer_position(name, counts))


# (weight of the model, weight of the whole file, mergekit's weight of each tensor of NAMES)
OBSERVED: list[tuple[Any, Any, list[float]]] = [
    (0.25, 0.5, [0.25] * 8),
    (None, 0.5, [0.5] * 8),
    ([0.2, 0.6], None, [0.2, 0.2, 0.2, 0.4, 0.4, 0.6, 0.2, 0.2]),
    ([0.0, 1, 5, 2], None, [0.0, 0.0, 0.0, 3.0, 3.0, 2.0, 0.0, 0.0]),
    ([0.3], None, [0.3] * 8),
    (None, [0.2, 0.6], [0.2, 0.2, 0.2, 0.4, 0.4, 0.6, 0.2, 0.2]),
    ([*MLP_ONLY, {"value": 0.9}], None, [0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.9, 0.9]),
    (MLP_ONLY, 0.4, [0.4, 0.1, 0.4, 0.1, 0.4, 0.1, 0.4, 0.4]),
    (MLP_ONLY[0], 0.4, [0.4, 0.1, 0.4, 0.1, 0.4, 0.1, 0.4, 0.4]),
    ([{"filter": "*", "value": 0.1}, {"filter": "mlp", "value": 0.7}], None, [0.1] * 8),
    ([{"filter": "", "value": 0.1}, {"value": 0.7}], None, [0.1] * 8),
    ([{"filter": "mlp", "value": [0, 1]}, {"value": 0.7}], None, [0.7, 0.0, 0.7, 0.5, 0.7, 1.0, 0.7, 0.7]),
    (
        [{"filter": "self_attn.q", "value": 0.1}, {"value": 0.7}],
        None,
        [0.7, 0.7, 0.1, 0.7, 0.1, 0.7, 0.7, 0.7],
    ),
    ([{"filter": "layers.*.mlp", "value": 0.1}, {"value": 0.7}], None, [0.7] * 8),
    ({"value": [0, 1]}, None, [0.0, 0.0, 0.0, 0.5, 0.5, 1.0, 0.0, 0.0]),
]


@pytest.mark.parametrize(("own", "whole", "expected"), OBSERVED)
def test_as_mergekit_resolves(own: Any, whole: Any, expected: list[float]) -> None:
    """Precedence, filters and gradients give each tensor the weight that mergekit 0.1.5 gives it."""
    own, whole = ({} if value is None else {"weight": value} for value in (own, whole))
    found = [resolved(own, whole, name)["weight"] for name in NAMES]
    assert found == [(pytest.approx(value, abs=1e-12),) for value in expected]


def test_gradient_of_one_layer() -> None:
    """A single layer is at the end of the gradient, what is outside it at the start, as in mergekit."""
    own = {"weight": [0.2, 0.6]}
    assert [resolved(own, {}, name, 1)["weight"] for name in (EMBED, UP.format(0), HEAD)] == [
        (0.2,),
        (0.6,),
        (0.2,),
    ]


def test_global_gradients_and_filters() -> None:
    """A global knob takes gradients and filters too, of its own kind."""
    whole = {
        "factor": [0, 1],
        "normalize": [{"filter": "mlp", "value": False}],
        "rescale": {"filter": "mlp", "value": "l1"},
    }
    one = resolved({"weight": 1}, whole, UP.format(1))
    assert (one["factor"], one["normalize"], one["rescale"]) == (0.5, False, "l1")
    other = resolved({"weight": 1}, whole, EMBED)
    assert (other["factor"], other["normalize"], other["rescale"]) == (0.0, True, False)


def test_shape_of_settings() -> None:
    """All knobs are there: per-model ones as one value an expert in config order, global ones as one."""
    models = [{"model": name, "parameters": {"weight": i}} for i, name in enumerate("xbya")]
    config = parse_config({"merge_method": "toy_deltas", "base_model": "b", "models": models})
    settings = settings_for(config, DELTAS, EMBED, 0.0)
    assert settings == {
        "weight": (0.0, 2.0, 3.0),
        "density": (1.0, 1.0, 1.0),
        "normalize": True,
        "factor": 1.0,
        "rescale": False,
        "scope": "tensor",
        "seed": 0,
    }
    assert [str(entry.model) for entry in experts_of(config, DELTAS)] == ["x", "y", "a"]


def test_semantics_choose_the_defaults_only() -> None:
    """The paper's defaults fill what is silent; what is written holds under both semantics."""
    whole = {"semantics": "paper", "factor": 3}
    settings = resolved({}, whole, EMBED)
    assert (settings["weight"], settings["density"], settings["scope"]) == ((1.0,), (0.2,), "model")
    assert (settings["factor"], settings["normalize"]) == (3.0, True)
    assert resolved({"density": 0.7}, whole, EMBED)["density"] == (0.7,)


def test_one_model_without_a_match() -> None:
    """Where no filter of a required knob matches a tensor, the error names tensor, model and place."""
    with pytest.raises(ConfigError) as caught:
        resolved({"weight": MLP_ONLY}, {}, EMBED)
    error = caught.value
    assert error.what == f'no "weight" for tensor "{EMBED}" of model "a"'
    assert error.where == "m.yaml: models[0].parameters.weight"
    assert "without a filter" in error.hint
    with pytest.raises(ConfigError) as caught:
        resolved({}, {"weight": MLP_ONLY}, EMBED)
    assert caught.value.where == "m.yaml: parameters.weight"


def test_gradients_stay_between_their_ends() -> None:
    """Interpolation hits every given number, never leaves the range, and is exact where it is flat."""
    rng = random.Random(7)
    for _ in range(200):
        gradient = [rng.choice((0.0, 1.0, rng.random())) for _ in range(rng.choice((1, 2, 3, 5, 50)))]
        layers = rng.choice((2, 3, 7, 32, 50, 61))
        found = [
            resolved({"density": gradient, "weight": 1}, {}, UP.format(i), layers)["density"][0]
            for i in range(layers)
        ]
        assert all(min(gradient) <= value <= max(gradient) for value in found)
        assert (found[0], found[-1]) == (gradient[0], gradient[-1])
        for i, value in enumerate(found):
            exact, rest = divmod(i * (len(gradient) - 1), layers - 1)
            if rest == 0:
                assert value == pytest.approx(gradient[exact], abs=1e-14)
    for value in (rng.random() for _ in range(20)):
        found = {resolved({"weight": [value] * 3}, {}, UP.format(i), 8)["weight"] for i in range(8)}
        assert found == {(value,)}


def test_filters_that_match_nothing_are_told() -> None:
    """A filter that no tensor's name contains is named with its place; those that match are not."""
    config = parse_config(
        {
            "merge_method": "toy_deltas",
            "base_model": "b",
            "models": [
                {
                    "model": "a",
                    "parameters": {"weight": [{"filter": "mpl", "value": 1}, {"filter": "mlp", "value": 2}]},
                }
            ],
            "parameters": {"weight": 1, "normalize": {"filter": "atn", "value": False}},
        },
        "m.yaml",
    )
    assert unmatched_filters(config, NAMES) == [
        'm.yaml: models[0].parameters.weight: the filter "mpl" matches no tensor',
        'm.yaml: parameters.normalize: the filter "atn" matches no tensor',
    ]


def constants(method: Method) -> dict[str, Any]:
    """A value for every knob of a method that is required."""
    return {knob.name: 1.0 for knob in method.knobs if knob.default is None}


def test_gradients_round_as_mergekit_does() -> None:
    """A density between two numbers is (1 - f) a + f b, so that as many entries are kept where density times
    numel is whole: a + f (b - a) gives 0.5 here, and keeps one of ten more.
    """
    (density,) = resolved({"density": [0.2, 0.6], "weight": 1}, {}, UP.format(3), 5)["density"]
    assert density == (1 - 0.75) * 0.2 + 0.75 * 0.6 == 0.49999999999999994
    assert int(density * 10) == 4


@pytest.mark.parametrize(
    ("name", "semantics"), list(itertools.product(sorted(CATALOGUE), ("mergekit", "paper")))
)
def test_every_method_resolves(name: str, semantics: str) -> None:
    """Every knob of every method in the catalogue has a value for every tensor, under both semantics."""
    method = load_method(name)
    models = [{"model": ref} for ref in "abc"]
    whole = constants(method) | {"semantics": semantics}
    config = parse_config({"merge_method": name, "models": models, "base_model": "base", "parameters": whole})
    count = len(experts_of(config, method))
    assert count == (4 if method.traits.base == "ignored" else 3)
    for tensor in NAMES:
        settings = settings_for(config, method, tensor, layer_position(tensor, {"model.layers": 3}))
        assert list(settings) == [knob.name for knob in method.knobs]
        for knob in method.knobs:
            assert isinstance(settings[knob.name], tuple) == (knob.scope == "model")
            assert settings[knob.name] != () and None not in (
                settings[knob.name],
                *_values(settings[knob.name]),
            )


def _values(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
