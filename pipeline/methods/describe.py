"""A method in words and as data, from its declaration alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.methods.contract import Knob, Method


def as_data(method: Method) -> dict[str, Any]:
    """The declaration as plain data."""
    return {
        "name": method.name,
        "title": method.title,
        "source": method.source,
        "base": method.traits.base,
        "min_experts": method.traits.min_experts,
        "max_experts": method.traits.max_experts,
        "parameters": [
            {
                "name": knob.name,
                "scope": knob.scope,
                "type": knob.kind,
                "default": knob.default,
                "paper_default": knob.default if knob.paper is None else knob.paper,
                "choices": list(knob.choices),
                "doc": knob.doc,
            }
            for knob in method.knobs
        ],
        "notes": list(method.notes),
    }


def overview(methods: Sequence[Method]) -> str:
    """One line a method."""
    width = max(len(method.name) for method in methods)
    return "\n".join(f"{method.name:<{width}}  {method.title}" for method in methods)


def as_text(method: Method) -> str:
    """Everything a user needs to write a config for this method."""
    traits = method.traits
    most = f" to {traits.max_experts}" if traits.max_experts else " or more"
    lines = [
        f"{method.name}: {method.title}",
        f"source: {method.source}",
        f"base model: {traits.base}; experts: {traits.min_experts}{most}",
        "",
        "parameters:",
    ]
    for knob in method.knobs:
        lines += [
            f"  {knob.name} ({'per model' if knob.scope == 'model' else 'global'}, {_values(knob)})",
            f"      {knob.doc}",
        ]
    if method.notes:
        lines += ["", *(f"note: {note}" for note in method.notes)]
    return "\n".join(lines)


def _values(knob: Knob) -> str:
    """Type or choices, range and defaults of a parameter."""
    kind = " | ".join(_word(choice) for choice in knob.choices) if knob.choices else knob.kind
    low = "" if knob.low is None else f" >= {knob.low:g}"
    high = "" if knob.high is None else f" <= {knob.high:g}"
    default = "required" if knob.default is None else f"default {_word(knob.default)}"
    paper = "" if knob.paper is None or knob.paper == knob.default else f", paper {_word(knob.paper)}"
    return f"{kind}{low}{high}, {default}{paper}"


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
