"""Merge configs made up at random from the catalogue's declarations: valid ones, and broken copies."""

from __future__ import annotations

import copy
import math
import random
from typing import Any

from pipeline.config.merge import SEMANTICS
from pipeline.methods import CATALOGUE, load_method
from pipeline.methods.contract import Knob

PATHS = (
    "models/a",
    "models/b",
    "org/name",
    "/abs/path",
    "../up",
    "weird@name",
    "a+b",
    "ü/模型",
    "~/home",
    "1.5",
    "yes",
)
FILTERS = ("mlp", "self_attn", "layers.1.", "*", "", None, "ü", "1.5", "null")
#: What a broken config may hold where something else belongs.
JUNK: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        10**400,
        0.5,
        math.nan,
        math.inf,
        "",
        "x",
        "weight",
        "true",
        "1e5",
        "a+b",
        "a@b@c",
    ),
    *(
        [],
        [1],
        [[]],
        ["x"],
        [None],
        {},
        {"value": 1},
        {"x": {}},
        {1: 2},
        {"model": "a"},
        [{"model": "a"}],
        b"x",
    ),
)


def valid_config(rng: random.Random) -> dict[str, Any]:
    """The data of a config that must be accepted, in any of the ways to write it."""
    name = rng.choice(sorted(CATALOGUE))
    method = load_method(name)
    least = max(1, method.traits.min_experts)
    count = rng.randint(least, min(least + 3, method.traits.max_experts or least + 3))
    paths = rng.sample(PATHS, count + 1)
    entries: list[dict[str, Any]] = [{"model": _reference(rng, path)} for path in paths[:count]]
    data: dict[str, Any] = {"merge_method": name, "models": entries}
    whole: dict[str, Any] = {}
    if rng.random() < 0.3:
        whole["semantics"] = rng.choice(SEMANTICS.choices)
    for knob in method.knobs:
        required = knob.default is None
        if knob.scope == "global" or rng.random() < 0.4:
            if required or rng.random() < 0.5:
                whole[knob.name] = setting(rng, knob)
            continue
        for entry in entries:
            if required or rng.random() < 0.5:
                entry.setdefault("parameters", {})[knob.name] = setting(rng, knob)
    if method.traits.base == "required" or rng.random() < 0.3:
        data["base_model"] = _reference(rng, paths[count])
        if method.traits.base == "ignored":  # the base is an input, and has no parameters of its own
            whole |= {knob.name: scalar(rng, knob) for knob in method.knobs if knob.default is None}
    if whole or rng.random() < 0.5:
        data["parameters"] = whole or None
    for key in ("dtype", "out_dtype"):
        if rng.random() < 0.5:
            data[key] = rng.choice(("", "torch.")) + rng.choice(("float16", "bfloat16", "float32", "float64"))
    return data


def setting(rng: random.Random, knob: Knob) -> Any:
    """A value of the knob in one of the forms a config may use."""
    form = rng.random()
    if not knob.per_tensor or form < 0.5:
        return scalar(rng, knob)
    if form < 0.7:
        return _value(rng, knob)
    if form < 0.8:
        return _rule(rng, knob)
    return [_rule(rng, knob) for _ in range(rng.randint(1, 3))]


def scalar(rng: random.Random, knob: Knob) -> Any:
    """One value inside the knob's range."""
    if knob.kind == "choice":
        return rng.choice(knob.choices)
    if knob.kind == "bool":
        return rng.random() < 0.5
    low = -10.0 if knob.low is None else knob.low
    high = low + 20.0 if knob.high is None else knob.high
    if knob.kind == "int":
        return rng.randint(int(low), int(high))
    return rng.choice((low, high, rng.uniform(low, high), int(high)))


def broken(rng: random.Random, data: dict[str, Any]) -> Any:
    """A copy of `data` in which one node is replaced by junk, renamed or removed. It may still be valid."""
    data = copy.deepcopy(data)
    parent, key = rng.choice(list(_nodes(data)))
    action = rng.random()
    if action < 0.6:
        parent[key] = copy.deepcopy(rng.choice(JUNK))
    elif action < 0.8 or isinstance(parent, list):
        del parent[key]
    else:
        parent[rng.choice((f"{key}x", str(key)[1:], 3, "parameters", "model"))] = parent.pop(key)
    return data


def _nodes(value: Any) -> Any:
    """(parent, key) of everything inside a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in pairs:
        yield value, key
        yield from _nodes(child)


def _reference(rng: random.Random, path: str) -> Any:
    if rng.random() < 0.6 and not {"@", "+"} & set(path):
        return path + rng.choice(("", "", "@main", "@v1.0"))
    return {"model": {"path": path} | rng.choice(({}, {"revision": "main"}, {"revision": None}))}


def _value(rng: random.Random, knob: Knob) -> Any:
    if knob.kind != "float" or rng.random() < 0.5:
        return scalar(rng, knob)
    return [scalar(rng, knob) for _ in range(rng.randint(1, 5))]


def _rule(rng: random.Random, knob: Knob) -> dict[str, Any]:
    rule = {"value": _value(rng, knob)}
    return rule if rng.random() < 0.3 else rule | {"filter": rng.choice(FILTERS)}
