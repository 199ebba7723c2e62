"""What a merge config says, as frozen values. Reads no file and checks nothing: see `mergekit.py` for that.

A parameter is a *setting*: rules tried in order; the first whose filter matches the tensor's name holds. A
rule's value is a scalar, or a gradient: numbers spread evenly over the layers, from the first to the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pipeline.methods.contract import Knob, Method
from pipeline.values import ModelRef

Scalar = bool | int | float | str
Gradient = tuple[float, ...]

#: Our one parameter that every method has: whose defaults hold where the config is silent.
SEMANTICS = Knob(
    name="semantics",
    kind="choice",
    doc="whose defaults hold for what is not written: mergekit's, or those of the paper's authors",
    default="mergekit",
    choices=("mergekit", "paper"),
    per_tensor=False,
)


@dataclass(frozen=True)
class Rule:
    """One value and the tensors it is for: names that contain `filter`; all of them where it is None."""

    value: Scalar | Gradient
    filter: str | None = None


#: Rules in the order they are tried.
Setting = tuple[Rule, ...]
#: Parameter name -> setting. Read only.
Settings = Mapping[str, Setting]


@dataclass(frozen=True)
class ModelEntry:
    """One line of `models`: a model and the parameters that are its own."""

    model: ModelRef
    parameters: Settings = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class MergeConfig:
    """A whole merge config, checked against its method.

    `dtype` and `out_dtype` are torch's names without prefix, or None.  `allow_mixed`: models of another type
    than the first may take part.  `name` tells merges of one file apart.  `source` is the file, for messages.
    `notes` are sentences about what was read and does not count.
    Two configs that mean the same are equal, whatever their `name`, `source` and `notes`.
    """

    merge_method: str
    models: tuple[ModelEntry, ...]
    base_model: ModelRef | None = None
    parameters: Settings = field(default_factory=dict, hash=False)
    dtype: str | None = None
    out_dtype: str | None = None
    allow_mixed: bool = False
    name: str = field(default="", compare=False)
    source: str = field(default="config", compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def semantics(self) -> Literal["mergekit", "paper"]:
        """Whose defaults hold for what is not written."""
        rules = self.parameters.get(SEMANTICS.name, (Rule(SEMANTICS.default),))
        return cast(Literal["mergekit", "paper"], rules[0].value)


def experts_of(config: MergeConfig, method: Method) -> list[ModelEntry]:
    """The entries whose weights are merged, in the order of the config.

    A method that takes deltas leaves the base out where it is listed. For a method that ignores the base, the
    base is an input like any other; where it is not listed it comes last, without parameters, as in mergekit.
    """
    if method.traits.base != "ignored":
        return [entry for entry in config.models if entry.model != config.base_model]
    experts = list(config.models)
    if config.base_model is not None and all(entry.model != config.base_model for entry in experts):
        experts.append(ModelEntry(config.base_model))
    return experts


def default_of(knob: Knob, semantics: str) -> Any:
    """The knob's value where the config is silent; None where it must not be."""
    return knob.paper if semantics == "paper" and knob.paper is not None else knob.default
