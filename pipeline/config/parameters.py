"""Reading `parameters`: every name, type and range is checked against the method. Nothing is converted:

a number is a number (not a quoted text, not true or false), and true is not 1.
"""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import Any

from pipeline.config.merge import SEMANTICS, Gradient, Rule, Scalar, Setting
from pipeline.config.place import Place, describe, label
from pipeline.errors import near
from pipeline.methods import CATALOGUE, load_method
from pipeline.methods.contract import Knob, Method

#: Every parameter of mergekit's methods; one that the chosen method has not changes nothing there either.
MERGEKIT_NAMES = frozenset(
    (
        *("weight", "density", "normalize", "rescale", "lambda", "int8_mask", "gamma", "epsilon", "t", "r"),
        *("select_topk", "scale", "filter_wise", "max_iter", "tol", "eps", "alpha", "normalize_weights"),
        *("nuslerp_flatten", "nuslerp_row_wise", "embed_slerp"),
    )
)
#: Keys of the file's top level that people write under `parameters`.
TOP_LEVEL = ("base_model", "dtype", "merge_method", "models", "out_dtype")


def knobs_of(method: Method) -> dict[str, Knob]:
    """Every parameter a config may give for the method, by name."""
    return {knob.name: knob for knob in (*method.knobs, SEMANTICS)}


def read_parameters(
    raw: object, place: Place, method: Method, *, per_model: bool, notes: list[str]
) -> dict[str, Setting]:
    """One `parameters` mapping: that of a model (`per_model`) or that of the whole file. None reads as empty.

    A per-model parameter may be given for the whole file and then holds for every model without its own. What
    mergekit knows and the method does not have is noted, once a file, and left out.
    Raises ConfigError: unknown name, value of the wrong type or out of range, global parameter under a model.
    """
    settings: dict[str, Setting] = {}
    if raw is None:
        return settings
    knobs = knobs_of(method)
    for name, value in place.mapping(raw, "`name: value` lines").items():
        here = place.key(name)
        if name not in knobs and name in MERGEKIT_NAMES:
            note = f"{place.source}: {name} has no effect: {_no_effect(name, method)}"
            notes.extend([] if note in notes else [note])
            continue
        if name not in knobs:
            raise here.error(
                f"unknown parameter {describe(name, bare=True)} for {method.name}",
                hint=_hint(label(name), method, per_model),
            )
        if per_model and knobs[name].scope == "global":
            raise here.error(
                f'"{name}" is one value for all models',
                expected="it in the top-level `parameters`",
                found="it under one model",
                hint=f"move `{name}` to the `parameters` of the whole file",
            )
        settings[name] = read_setting(value, knobs[name], here, notes)
    return settings


def read_setting(raw: object, knob: Knob, place: Place, notes: list[str]) -> Setting:
    """A scalar, a gradient, `{value, filter}` or a list of those, as rules. Raises ConfigError."""
    setting = _rules(raw, knob, place)
    constant = len(setting) == 1 and setting[0].filter is None and not isinstance(setting[0].value, tuple)
    if not knob.per_tensor and not constant:
        raise place.error(
            f'"{knob.name}" has one value for the whole merge',
            expected=_expected(knob),
            found=describe(raw),
            hint="write one value, without filters and gradients",
        )
    if any(rule.filter is None for rule in setting[:-1]):
        notes.append(f"{place}: what follows the first value without a filter is never used")
    return setting


def _no_effect(name: str, method: Method) -> str:
    """Why a parameter of mergekit changes nothing here."""
    if name == "int8_mask":
        return "it only saves memory in mergekit"
    return f"{method.name} has no such parameter"


def _hint(name: str, method: Method, per_model: bool) -> str:
    """What to do about a parameter that the method does not have."""
    if name in TOP_LEVEL:
        return f"move `{name}` to the top level of the file"
    if name == "parameters":
        return "remove one level: parameters stand directly under `parameters`"
    owners = [other for other in CATALOGUE if other != method.name and load_method(other).knob(name)]
    if owners:
        return f"remove it, or choose a method that has it: {', '.join(owners)}"
    usable = [knob.name for knob in knobs_of(method).values() if not per_model or knob.scope == "model"]
    if not get_close_matches(name, usable, n=1) and get_close_matches(name, MERGEKIT_NAMES, n=1):
        return near(name, sorted(MERGEKIT_NAMES))
    return near(name, usable) if usable else "remove it"


def _rules(raw: object, knob: Knob, place: Place) -> Setting:
    """The rules of one parameter."""
    if isinstance(raw, dict):
        return (_rule(raw, knob, place),)
    if isinstance(raw, list | tuple) and any(isinstance(item, dict) for item in raw):
        return tuple(_rule(item, knob, place.item(index)) for index, item in enumerate(raw))
    return (Rule(_value(raw, knob, place)),)


def _rule(raw: object, knob: Knob, place: Place) -> Rule:
    """One `{value, filter}`; the filters "*" and "" match everything, like no filter at all."""
    fields = place.mapping(raw, "`{value: ..., filter: ...}` in every item of the list")
    place.only(fields, ["value", "filter"])
    if "value" not in fields:
        raise place.error("no value given", expected=f"value: {_expected(knob)}", found=describe(raw))
    pattern = fields.get("filter")
    if pattern is not None and not isinstance(pattern, str):
        raise place.key("filter").error(
            "not a text",
            expected="a part of a tensor name",
            found=describe(pattern),
            hint="put it in quotes",
        )
    value = _value(fields["value"], knob, place.key("value"))
    return Rule(value, None if pattern in (None, "", "*") else pattern)


def _value(raw: object, knob: Knob, place: Place) -> Scalar | Gradient:
    """A scalar, or a list of numbers as a gradient."""
    if not isinstance(raw, list | tuple):
        return _scalar(raw, knob, place)
    if knob.kind != "float":
        raise place.error(
            f'"{knob.name}" cannot change gradually',
            expected=_expected(knob),
            found=describe(raw),
            hint="use filters for different values",
        )
    if not raw:
        raise place.error("an empty gradient", expected="one number or more", found="an empty list")
    return tuple(float(_scalar(item, knob, place.item(index))) for index, item in enumerate(raw))


def _scalar(raw: Any, knob: Knob, place: Place) -> Scalar:
    """One value of the knob's kind, in its range."""
    if _has_kind(raw, knob) and _in_range(raw, knob):
        value: Scalar = float(raw) if knob.kind == "float" else raw
        return value
    out_of_range = _has_kind(raw, knob) and knob.kind != "choice"
    raise place.error(
        f'"{knob.name}" is out of range' if out_of_range else f'"{knob.name}" cannot have this value',
        expected=_expected(knob),
        found=describe(raw),
        hint=_scalar_hint(raw, knob),
    )


def _has_kind(raw: object, knob: Knob) -> bool:
    """Whether a value has the knob's type; for a choice, whether it is one of them."""
    if knob.kind == "choice":
        return any(type(raw) is type(choice) and raw == choice for choice in knob.choices)
    if knob.kind == "bool" or isinstance(raw, bool):
        return knob.kind == "bool" and isinstance(raw, bool)
    return isinstance(raw, int if knob.kind == "int" else int | float)


def _in_range(raw: Any, knob: Knob) -> bool:
    """Whether a number is finite as a float and within the knob's bounds; true for all else."""
    if knob.kind not in ("int", "float"):
        return True
    try:
        number = float(raw)
    except OverflowError:  # a whole number beyond any float
        return False
    low = -math.inf if knob.low is None else knob.low
    high = math.inf if knob.high is None else knob.high
    return math.isfinite(number) and low <= raw <= high


def _expected(knob: Knob) -> str:
    """What the knob takes, in words."""
    if knob.kind == "choice":
        return ", ".join(_yaml(choice) for choice in knob.choices)
    if knob.kind == "bool":
        return "true or false"
    kind = "a whole number" if knob.kind == "int" else "a finite number"
    if knob.low is not None and knob.high is not None:
        return f"{kind} from {knob.low} to {knob.high}"
    if knob.low is not None:
        return f"{kind}, {knob.low} or more"
    return kind if knob.high is None else f"{kind}, {knob.high} or less"


def _scalar_hint(raw: object, knob: Knob) -> str:
    """What to do about one wrong value."""
    if raw is None:
        return "give it a value, or remove the line"
    if knob.kind == "choice" and isinstance(raw, str):
        return near(raw, [_yaml(choice) for choice in knob.choices])
    if knob.kind == "bool" and not isinstance(raw, bool):
        return "write true or false, without quotes"
    if isinstance(raw, str) and _is_number(raw):
        return "remove the quotes"
    return ""


def _yaml(choice: object) -> str:
    """A choice as it is written in YAML."""
    return str(choice).lower() if isinstance(choice, bool) else str(choice)


def _is_number(text: str) -> bool:
    """Whether a text would be a finite number without its quotes."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
