"""Make frozen values of a study from plain data that a file holds, each field of its own type or not at all.

It knows no file. What it raises, a TypeError or ValueError of one line, says which field is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
#: What the report needs of a study's facts, and of which type each is.
_FACTS: Mapping[str, type] = {
    "name": str, "config": str, "resamples": int, "qualities": list, "methods": list, "protocol": list,
    "versions": dict,
}  # fmt: skip
#: Resamples of a bootstrap: more take more memory than a stranger may ask for.
_MOST_RESAMPLES = 100_000


def from_plain(kind: type[T], values: object) -> T:
    """Build a dataclass of plain fields; fields that the values lack have their defaults.

    Raises TypeError: a field without a default is missing, is unknown or is of another type, a number among
    them that is not finite.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"a {type(values).__name__} where a {kind.__name__} was expected")
    hints = get_type_hints(kind)
    unknown = values.keys() - hints.keys()
    if unknown:
        raise TypeError(f"a {kind.__name__} has no field {sorted(map(str, unknown))[0]}")
    return kind(
        **{name: _admit(value, hints[name], f"{kind.__name__}.{name}") for name, value in values.items()}
    )


def _admit(value: Any, hint: Any, name: str) -> Any:
    """Return the value in the type that a field has: lists become tuples, whole numbers floats."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if value is None and type(None) in inner:
            return None
        return _admit(value, next(one for one in inner if one is not type(None)), name)
    if origin is tuple and isinstance(value, list | tuple):
        kinds = [inner[0]] * len(value) if inner[1:] == (Ellipsis,) else list(inner)
        if len(kinds) == len(value):
            return tuple(_admit(one, kind, name) for one, kind in zip(value, kinds, strict=True))
    elif origin is Literal:
        if isinstance(value, str) and value in inner:
            return value
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif hint is Any or type(value) is hint:
        return value
    raise TypeError(f"{name} is of another type")


def read_facts(facts: object) -> dict[str, Any]:
    """Check what a report says of a study beside its figures; other facts are kept as they are.

    Raises TypeError, ValueError or KeyError: a fact that a report needs is missing or of another type.
    """
    if not isinstance(facts, dict):
        raise TypeError("facts are no mapping")
    for name, kind in _FACTS.items():
        if type(facts[name]) is not kind:
            raise TypeError(f"{name} is no {kind.__name__}")
    if not 0 <= facts["resamples"] <= _MOST_RESAMPLES:
        raise ValueError(f"{facts['resamples']} resamples")
    if not isinstance(facts.get("smallest_effect", 0.0), float):
        raise TypeError("smallest_effect is no float")
    return {
        **facts,
        "protocol": [[str(label), str(text)] for label, text in facts["protocol"]],
        "versions": {str(name): str(number) for name, number in facts["versions"].items()},
        **{key: [str(name) for name in facts[key]] for key in ("qualities", "methods")},
    }


def read_models(models: object) -> tuple[tuple[str, str, str], ...]:
    """Read (what, path, digest) of every checkpoint. Raises TypeError or ValueError for other values."""
    if not isinstance(models, list):
        raise TypeError("models are no list")
    return tuple((str(what), str(path), str(digest)) for what, path, digest in models)
