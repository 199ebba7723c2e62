"""Method declarations with each kind of knob, for tests that do not hang on the catalogue. Runs nothing."""

from __future__ import annotations

from typing import NoReturn

import pytest

from pipeline.methods import CATALOGUE
from pipeline.methods.contract import Knob, Method, Traits


def no_arithmetic(*_: object) -> NoReturn:
    """`apply` of a method that is only a declaration."""
    raise AssertionError("a toy method has no arithmetic")


def declare(name: str, traits: Traits, *knobs: Knob) -> Method:
    """A method that can be planned but not run."""
    return Method(name=name, title=name, source="tests", traits=traits, knobs=knobs, apply=no_arithmetic)


WEIGHT = Knob("weight", "float", "share of the model", scope="model", paper=1.0)
#: Takes deltas; one knob of every kind, scope and range.
DELTAS = declare(
    "toy_deltas",
    Traits(base="required"),
    WEIGHT,
    Knob("density", "float", "share kept", scope="model", default=1.0, paper=0.2, low=0.0, high=1.0),
    Knob("normalize", "bool", "divide by the weights", default=True),
    Knob("factor", "float", "factor of the sum", default=1.0, low=0.0),
    Knob("rescale", "choice", "keep a norm", default=False, choices=(False, True, "l1", "expectation")),
    Knob(
        "scope",
        "choice",
        "of thresholds",
        default="tensor",
        paper="model",
        choices=("tensor", "model"),
        per_tensor=False,
    ),
    Knob("seed", "int", "of the masks", default=0, low=0, high=2**63 - 1, per_tensor=False),
)
#: Averages inputs; the base is one of them.
MEAN = declare("toy_mean", Traits(base="ignored"), WEIGHT, Knob("normalize", "bool", "a mean", default=True))
#: Exactly two experts and a required global knob.
PAIR = declare(
    "toy_pair",
    Traits(base="optional", min_experts=2, max_experts=2),
    Knob("t", "float", "position between the two", low=0.0, high=1.0),
)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue also has the toy methods."""
    for attribute, method in {"DELTAS": DELTAS, "MEAN": MEAN, "PAIR": PAIR}.items():
        monkeypatch.setitem(CATALOGUE, method.name, f"{__name__}:{attribute}")
