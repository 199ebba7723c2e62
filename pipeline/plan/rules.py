"""Which knobs hold for which tensor: filters, gradients and precedence. Pure: no files, no torch, no headers.

Precedence: the model's own parameters, then those of the whole file, then the default of the config's
`semantics`. On each level the first rule whose filter is in the tensor's name holds; where none matches, the
next level is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.config.merge import (
    Gradient,
    MergeConfig,
    ModelEntry,
    Rule,
    Scalar,
    Setting,
    default_of,
    experts_of,
)
from pipeline.config.place import Place
from pipeline.errors import ConfigError
from pipeline.methods.contract import Knob, Method


def settings_for(config: MergeConfig, method: Method, tensor_name: str, position: float) -> dict[str, Any]:
    """The resolved knobs of one tensor: a tuple (one value an expert) for "model" knobs, else a scalar.

    `position` runs from 0 (first layer) to 1 (last), see `layer_position`. Raises ConfigError naming the
    tensor and the model where a knob without a default has no rule that matches.
    """
    experts = experts_of(config, method)
    settings: dict[str, Any] = {}
    for knob in method.knobs:
        if knob.scope == "global":
            settings[knob.name] = _resolve(config, knob, None, tensor_name, position)
        else:
            settings[knob.name] = tuple(
                _resolve(config, knob, entry, tensor_name, position) for entry in experts
            )
    return settings


def unmatched_filters(config: MergeConfig, tensor_names: Sequence[str]) -> list[str]:
    """One sentence for every filter that is in no tensor's name: most likely misspelt."""
    root = Place(config.source)
    levels = [(root.key("models").item(i), entry.parameters) for i, entry in enumerate(config.models)]
    levels.append((root, config.parameters))
    return [
        f'{place.key("parameters").key(name)}: the filter "{rule.filter}" matches no tensor'
        for place, settings in levels
        for name, setting in settings.items()
        for rule in setting
        if rule.filter is not None and not any(rule.filter in tensor for tensor in tensor_names)
    ]


def _resolve(
    config: MergeConfig, knob: Knob, entry: ModelEntry | None, tensor_name: str, position: float
) -> Scalar:
    """One knob's value for one tensor, of one model (`entry`) or of all."""
    for level in (entry.parameters if entry else {}, config.parameters):
        rule = _match(level.get(knob.name, ()), tensor_name)
        if rule is not None:
            return _interpolate(rule.value, position) if isinstance(rule.value, tuple) else rule.value
    default: Scalar | None = default_of(knob, config.semantics)
    if default is None:
        raise _no_value(config, knob, entry, tensor_name)
    return default


def _match(setting: Setting, tensor_name: str) -> Rule | None:
    """The first rule whose filter is part of the name."""
    return next((rule for rule in setting if rule.filter is None or rule.filter in tensor_name), None)


def _interpolate(gradient: Gradient, position: float) -> float:
    """The value at `position` of numbers spread evenly over 0 .. 1, joined by straight lines."""
    scaled = position * (len(gradient) - 1)
    index = min(int(scaled), len(gradient) - 1)
    share = scaled - index
    left, right = gradient[index], gradient[min(index + 1, len(gradient) - 1)]
    # mergekit's own form: another one rounds otherwise, and int(density * numel) flips where that is whole.
    value = (1 - share) * left + share * right
    # Its rounding may leave the range of the two: equal neighbours give exactly their value.
    return min(max(value, min(left, right)), max(left, right))


def _no_value(config: MergeConfig, knob: Knob, entry: ModelEntry | None, tensor_name: str) -> ConfigError:
    root, model = Place(config.source), ""
    if entry is not None:
        model = f' of model "{entry.model}"'
        if entry in config.models and knob.name in entry.parameters:
            root = root.key("models").item(config.models.index(entry))
    return (
        root.key("parameters")
        .key(knob.name)
        .error(
            f'no "{knob.name}" for tensor "{tensor_name}"{model}',
            expected=knob.doc,
            found="only values whose filters do not match",
            hint="add a last item without a filter: it holds for all other tensors",
        )
    )
