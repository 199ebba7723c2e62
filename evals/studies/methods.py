"""The `methods` of a study file, by the rules of merge configs, and the merge config of one of them. Pure.

There is one rule-book, `pipeline.config`: names, types and ranges are looked up there, none are kept here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evals.strict import Node
from pipeline.config.load import parse_config
from pipeline.config.merge import Scalar
from pipeline.config.parameters import knobs_of, read_parameters, read_setting
from pipeline.config.place import Place, describe
from pipeline.errors import near
from pipeline.methods import load_method
from pipeline.methods.contract import Knob, Method

#: The knob that a study's seed goes to.
SEED = "seed"
_SEEDS_DO_THAT = "remove it: every merge gets the seed that picked its experts, see `seeds` of the study"


def is_random(merge_method: str) -> bool:
    """Whether the seed changes a merge of the same models."""
    return load_method(merge_method).knob(SEED) is not None


def merge_config(
    merge_method: str, base: str, experts: Sequence[str], parameters: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """A merge config as mergekit writes it, for `pipeline.config.load.parse_config`.

    The base is left out where the method would average it in. Every expert weighs 1 where `parameters` say
    nothing. The seed goes to methods that have one. The result has the type that the models have.
    """
    method = load_method(merge_method)
    given = dict(parameters)
    if method.knob("weight") is not None:
        given = {"weight": 1.0} | given
    if method.knob(SEED) is not None:
        given[SEED] = seed
    origin = {} if method.traits.base == "ignored" else {"base_model": base}
    models = [{"model": expert} for expert in experts]
    return {"merge_method": merge_method, **origin, "models": models, "parameters": given}


def read_method(entry: Node, counts: Sequence[int]) -> tuple[str, dict[str, Any], dict[str, tuple[Any, ...]]]:
    """(merge_method, parameters, tune) of one entry, for merges of `counts` experts.

    ConfigError with the path in the file: what a merge config could not say either, a seed, and tuned values
    that are not two different ones of the parameter's type at least.
    """
    entry.only("merge_method", "parameters", "tune")
    name = entry.take("merge_method", str)
    method = load_method(name, entry.where("merge_method"))
    parameters = entry.take_or("parameters", dict, {})
    _refuse_seed(parameters, entry.place.key("parameters"))
    place = entry.place.key("parameters")
    read_parameters(parameters, place, method, per_model=False, notes=[])
    for key in parameters:
        if key not in knobs_of(method):  # a merge notes it; in a study it would look like a condition
            raise place.key(key).error(
                f'"{key}" has no effect on {method.name}', hint="remove it: every merge would be the same"
            )
    tune = _read_tune(entry.child("tune"), method) if "tune" in entry else {}
    for key in tune:
        if key in parameters:
            raise entry.wrong(
                "parameters", f'"{key}" is tuned and fixed at once', hint="write it in one place"
            )
    first = {key: values[0] for key, values in tune.items()}
    for count in (counts[0], counts[-1]):
        experts = [f"expert-{number}" for number in range(count)]
        parse_config(merge_config(name, "base", experts, parameters | first, 0), str(entry.place))
    return name, parameters, tune


def _refuse_seed(names: Mapping[str, Any], place: Place) -> None:
    if SEED in names:
        raise place.key(SEED).error("the study gives each merge its seed", hint=_SEEDS_DO_THAT)


def _read_tune(tune: Node, method: Method) -> dict[str, tuple[Any, ...]]:
    """Parameter -> its values, in file order."""
    knobs = knobs_of(method)
    _refuse_seed(dict.fromkeys(tune.names()), tune.place)
    found = {}
    for name in tune.names():
        if name not in knobs:
            raise tune.place.key(name).error(
                f"unknown parameter {describe(name, bare=True)} for {method.name}",
                hint=near(str(name), [knob for knob in knobs if knob != SEED]),
            )
        found[name] = _values(tune.take(name, list), knobs[name], tune.place.key(name))
    if not found:
        raise tune.place.error("nothing to tune", expected="PARAMETER: [VALUE, VALUE]", found="nothing")
    return found


def _values(raw: list[Any], knob: Knob, place: Place) -> tuple[Scalar, ...]:
    """Values to try, one for all tensors each."""
    values: list[Scalar] = []
    for index, item in enumerate(raw):
        rules = read_setting(item, knob, place.item(index), [])
        value = rules[0].value
        if len(rules) > 1 or rules[0].filter is not None or isinstance(value, tuple):
            raise place.item(index).error("one value for all tensors can be tuned", found=describe(item))
        if any(type(value) is type(other) and value == other for other in values):
            raise place.item(index).error("this value stands here twice", found=describe(item))
        values.append(value)
    if len(values) < 2:
        raise place.error(
            "nothing to choose from",
            expected="two values or more",
            found=describe(raw),
            hint="write a single value under `parameters`",
        )
    return tuple(values)
