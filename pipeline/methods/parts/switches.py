"""Knobs that several methods offer under the same name and meaning. Data only; `doc` says what they do."""

from __future__ import annotations

from typing import Literal

from pipeline.methods.contract import Knob, Knobs

HALF_NOTE = (
    "with dtype: float16 or bfloat16 deltas, weights and products are rounded to that type, as in mergekit; "
    "sums over experts are kept in float32 and rounded once"
)


def weight() -> Knob:
    """Required in mergekit's YAML; the papers know no weights, so 1 there."""
    return Knob("weight", "float", "factor of each expert's delta", scope="model", paper=1.0)


def density(doc: str, paper: float | None = None) -> Knob:
    """A share of entries, one a model."""
    return Knob(
        "density", "float", doc, scope="model", default=1.0, paper=paper, low=0.0, high=1.0, in_totals=True
    )


def normalize(*, default: bool, paper: bool | None = None) -> Knob:
    """Whether a sum over experts becomes a mean."""
    return Knob(
        "normalize", "bool", "divide by the sum of the weights that take part", default=default, paper=paper
    )


def factor(
    doc: str = "factor of the merged delta before it is added to the base", paper: float | None = None
) -> Knob:
    """mergekit's and the papers' lambda."""
    return Knob("lambda", "float", doc, default=1.0, paper=paper)


def trim_scope() -> Knob:
    """Whose k-th magnitude, whose norm, whose majority."""
    return Knob(
        "trim_scope",
        "choice",
        "thresholds, norms and majorities are taken over each tensor, or over the whole model",
        default="tensor",
        paper="model",
        choices=("tensor", "model"),
        per_tensor=False,
    )


def zero_sign() -> Knob:
    """What an election elects when it is a draw."""
    return Knob(
        "zero_sign",
        "choice",
        "sign of an entry whose sum is exactly zero: positive, or the majority of all elected signs",
        default="positive",
        paper="majority",
        choices=("positive", "majority"),
        per_tensor=False,
    )


def scope(knobs: Knobs) -> Literal["tensor", "model"]:
    """`Method.scope` of a method with the knob `trim_scope`."""
    return "model" if knobs["trim_scope"] == "model" else "tensor"
