"""Parameters: what each kind of knob takes, in which form and at which level, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipeline.config.load import parse_config
from pipeline.config.merge import Rule
from pipeline.config.parameters import read_parameters
from pipeline.config.place import Place
from pipeline.errors import ConfigError
from tests.helpers.toy_methods import DELTAS

PLACE = Place("m.yaml", "parameters")


def read(raw: object, per_model: bool = False) -> tuple[dict[str, tuple[Rule, ...]], list[str]]:
    """Settings and notes of one `parameters` mapping of the toy method."""
    notes: list[str] = []
    return read_parameters(raw, PLACE, DELTAS, per_model=per_model, notes=notes), notes


@pytest.mark.parametrize(
    ("name", "raw", "rules"),
    [
        ("weight", 1, (Rule(1.0),)),
        ("weight", -0.5, (Rule(-0.5),)),
        ("weight", [0, 0.5, 1], (Rule((0.0, 0.5, 1.0)),)),
        ("weight", (0, 1), (Rule((0.0, 1.0)),)),
        ("weight", [2], (Rule((2.0,)),)),
        ("weight", {"value": 2}, (Rule(2.0),)),
        ("weight", {"value": 2, "filter": "mlp"}, (Rule(2.0, "mlp"),)),
        ("weight", {"value": 2, "filter": "*"}, (Rule(2.0),)),
        ("weight", {"value": 2, "filter": ""}, (Rule(2.0),)),
        ("weight", {"value": 2, "filter": None}, (Rule(2.0),)),
        ("weight", [{"value": [0, 1], "filter": "mlp"}, {"value": 3}], (Rule((0.0, 1.0), "mlp"), Rule(3.0))),
        ("density", 0, (Rule(0.0),)),
        ("density", [0, 1], (Rule((0.0, 1.0)),)),
        ("normalize", False, (Rule(False),)),
        ("normalize", [{"value": True, "filter": "mlp"}], (Rule(True, "mlp"),)),
        ("rescale", True, (Rule(True),)),
        ("rescale", "l1", (Rule("l1"),)),
        ("scope", "model", (Rule("model"),)),
        ("seed", 2**63 - 1, (Rule(2**63 - 1),)),
        ("semantics", "paper", (Rule("paper"),)),
    ],
)
def test_accepted_forms(name: str, raw: object, rules: tuple[Rule, ...]) -> None:
    """Scalars, gradients, filters and lists of those become rules in order, numbers become floats."""
    settings, notes = read({name: raw})
    assert settings == {name: rules}
    assert [type(rule.value) for rule in settings[name]] == [type(rule.value) for rule in rules]
    assert notes == []


REFUSED: list[tuple[dict[str, Any], str, str, str, str]] = [
    ({"wieght": 1}, ".wieght", 'unknown parameter "wieght"', "", '"weight"'),
    ({3: 1}, ".3", "unknown parameter 3", "", "known names"),
    ({"dtype": "float32"}, ".dtype", "unknown", "", "move `dtype` to the top level"),
    ({"parameters": {"weight": 1}}, ".parameters", "unknown", "", "remove one level"),
    ({"weight": "0.5"}, ".weight", "cannot have", 'the text "0.5"', "remove the quotes"),
    ({"weight": "half"}, ".weight", "cannot have", 'the text "half"', ""),
    ({"weight": True}, ".weight", "cannot have", "true", ""),
    ({"weight": None}, ".weight", "cannot have", "nothing", "give it a value"),
    ({"weight": math.nan}, ".weight", "out of range", "nan", ""),
    ({"weight": math.inf}, ".weight", "out of range", "inf", ""),
    ({"weight": 10**400}, ".weight", "out of range", "1329 bits", ""),
    ({"weight": []}, ".weight", "empty gradient", "an empty list", ""),
    ({"weight": [0, True]}, ".weight[1]", "cannot have", "true", ""),
    ({"weight": [0, [1]]}, ".weight[1]", "cannot have", "a list of 1", ""),
    ({"weight": [0, math.nan]}, ".weight[1]", "out of range", "nan", ""),
    ({"weight": [0.5, {"value": 1}]}, ".weight[0]", "not a mapping", "0.5", ""),
    ({"weight": {}}, ".weight", "no value given", "an empty mapping", ""),
    ({"weight": {"filter": "mlp"}}, ".weight", "no value given", "", ""),
    ({"weight": {"vlaue": 1}}, ".weight.vlaue", "unknown key", "", '"value"'),
    ({"weight": {"value": {"value": 1}}}, ".weight.value", "cannot have", "a mapping", ""),
    ({"weight": [{"value": 1, "filter": 3}]}, ".weight[0].filter", "not a text", "3", "quotes"),
    ({"weight": [{"value": 1, "filter": ["a"]}]}, ".weight[0].filter", "not a text", "a list", ""),
    ({"density": 1.5}, ".density", "out of range", "1.5", ""),
    ({"density": -1}, ".density", "out of range", "-1", ""),
    ({"density": [0.1, 2]}, ".density[1]", "out of range", "2", ""),
    ({"density": {"value": 2, "filter": "a"}}, ".density.value", "out of range", "2", ""),
    ({"factor": -0.1}, ".factor", "out of range", "-0.1", ""),
    ({"normalize": 1}, ".normalize", "cannot have", "1", "true or false"),
    ({"normalize": "true"}, ".normalize", "cannot have", "the text", "without quotes"),
    ({"normalize": [True, False]}, ".normalize", "gradually", "a list of 2", "filters"),
    ({"rescale": 1}, ".rescale", "cannot have", "1", ""),
    ({"rescale": 0.0}, ".rescale", "cannot have", "0.0", ""),
    ({"rescale": "L1"}, ".rescale", "cannot have", "the text", ""),
    ({"rescale": "expectaton"}, ".rescale", "cannot have", "the text", '"expectation"'),
    ({"rescale": ["l1"]}, ".rescale", "gradually", "a list", "filters"),
    ({"scope": {"value": "model", "filter": "mlp"}}, ".scope", "one value", "", "without filters"),
    ({"seed": 1.0}, ".seed", "cannot have", "1.0", ""),
    ({"seed": True}, ".seed", "cannot have", "true", ""),
    ({"seed": -1}, ".seed", "out of range", "-1", ""),
    ({"seed": 2**63}, ".seed", "out of range", str(2**63), ""),
    ({"seed": [1, 2]}, ".seed", "gradually", "", ""),
    ({"semantics": "papers"}, ".semantics", "cannot have", "", '"paper"'),
    ({"semantics": [{"value": "paper", "filter": "mlp"}]}, ".semantics", "one value", "", ""),
]


@pytest.mark.parametrize(("raw", "path", "what", "found", "hint"), REFUSED)
def test_refused_values(raw: object, path: str, what: str, found: str, hint: str) -> None:
    """A wrong name, type, range or form is an error at its very place, and says what was found."""
    with pytest.raises(ConfigError) as caught:
        read(raw)
    assert caught.value.where == f"m.yaml: parameters{path}"
    assert what in caught.value.what
    assert found in caught.value.found
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("weight", "a finite number"),
        ("density", "a finite number from 0.0 to 1.0"),
        ("factor", "a finite number, 0.0 or more"),
        ("normalize", "true or false"),
        ("rescale", "false, true, l1, expectation"),
        ("seed", "a whole number from 0 to 9223372036854775807"),
    ],
)
def test_errors_say_what_is_expected(name: str, expected: str) -> None:
    """The error names what the knob takes, in words that can be typed."""
    with pytest.raises(ConfigError) as caught:
        read({name: "?"})
    assert caught.value.expected == expected


def test_levels() -> None:
    """A per-model knob may stand at both levels, a global one under no model."""
    assert read({"weight": 1}, per_model=True)[0] == read({"weight": 1})[0]
    for name, value in {"normalize": True, "seed": 3, "semantics": "paper"}.items():
        with pytest.raises(ConfigError) as caught:
            read({name: value}, per_model=True)
        assert "one value for all models" in caught.value.what
        assert caught.value.hint == f"move `{name}` to the `parameters` of the whole file"


def test_foreign_parameters_name_their_owners() -> None:
    """A parameter of another method is answered with the methods that have it."""
    with pytest.raises(ConfigError) as caught:
        read({"zero_sign": "positive"})
    assert caught.value.hint.startswith("remove it, or choose a method that has it: ties")


@pytest.mark.parametrize("per_model", [True, False])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("int8_mask", "it only saves memory in mergekit"),
        ("gamma", "toy_deltas has no such parameter"),
        ("t", "toy_deltas has no such parameter"),
        ("lambda", "toy_deltas has no such parameter"),
    ],
)
def test_parameters_without_effect_are_noted(name: str, why: str, per_model: bool) -> None:
    """A parameter of mergekit that the method does not have is read, changes nothing, and that is said."""
    settings, notes = read({name: 0.5}, per_model)
    assert settings == {}
    assert notes == [f"m.yaml: {name} has no effect: {why}"]


def test_one_note_for_each_parameter_without_effect() -> None:
    """A parameter without effect that stands at several models is said to have none once."""
    models = [{"model": name, "parameters": {"weight": 1, "density": 0.3, "gamma": 1}} for name in "abc"]
    config = {"merge_method": "task_arithmetic", "base_model": "base", "models": models}
    found = parse_config({**config, "parameters": {"density": 0.5}}, "m.yaml")
    assert found.notes == (
        "m.yaml: density has no effect: task_arithmetic has no such parameter",
        "m.yaml: gamma has no effect: task_arithmetic has no such parameter",
    )
    assert all(list(entry.parameters) == ["weight"] for entry in found.models) and not found.parameters


@pytest.mark.parametrize(
    ("name", "meant"), [("gama", "gamma"), ("densty", "density"), ("selct_topk", "select_topk")]
)
def test_misspelt_parameters_stay_errors(name: str, meant: str) -> None:
    """A name that is only near one of mergekit's is an error with the near name, not a note."""
    with pytest.raises(ConfigError) as caught:
        read({name: 1})
    assert caught.value.hint == f'did you mean "{meant}"?'


def test_rules_out_of_reach_are_noted() -> None:
    """Rules after one without a filter are never used, as in mergekit, and that is said."""
    settings, notes = read({"weight": [{"value": 1, "filter": "*"}, {"value": 2, "filter": "mlp"}]})
    assert settings["weight"] == (Rule(1.0), Rule(2.0, "mlp"))
    assert len(notes) == 1 and notes[0].startswith("m.yaml: parameters.weight: ")


@pytest.mark.parametrize("raw", [None, {}])
def test_empty_parameters(raw: object) -> None:
    """`parameters:` with nothing under it means no parameters."""
    assert read(raw) == ({}, [])
