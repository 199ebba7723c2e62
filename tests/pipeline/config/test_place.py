"""Places in a config and descriptions of what was found: exact for people, bounded for machines."""

from __future__ import annotations

import datetime
import math
from typing import Any

import pytest

from pipeline.config.place import Place, describe
from pipeline.errors import ConfigError


def test_a_place_reads_like_a_path() -> None:
    """Keys are joined by dots and items by brackets, after the name of the file."""
    place = Place("m.yaml").key("models").item(1).key("parameters").key("weight").item(0)
    assert str(place) == "m.yaml: models[1].parameters.weight[0]"
    assert str(Place("m.yaml")) == "m.yaml"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"),
        (True, "true"),
        (1, "1"),
        (0.1, "0.1"),
        (math.nan, "nan"),
        ("x", 'the text "x"'),
        ("a\nb", 'the text "a?b"'),
        ([], "an empty list"),
        ([1, 2], "a list of 2"),
        ({}, "an empty mapping"),
        ({"a": 1, 2: 3}, "a mapping of 2: a"),
        (1 << 5000, "a whole number of 5001 bits"),
        (datetime.date(2024, 1, 1), "a date"),
        (b"x", "a bytes"),
    ],
)
def test_descriptions(value: object, text: str) -> None:
    """What was found is named by its kind, and shown where it is short."""
    assert describe(value) == text


def test_descriptions_are_bounded() -> None:
    """No value makes a long description, not even one that holds itself."""
    circle: list[Any] = []
    circle.append(circle)
    for value in (circle, "x" * 10**6, {"k" * 10**6: 1}, {str(i): i for i in range(10**4)}, -(10**9999)):
        assert len(describe(value)) < 100


def test_near_names_are_offered() -> None:
    """An unknown key is answered with the nearest known one, or with what the caller knows better."""
    place = Place("m.yaml")
    with pytest.raises(ConfigError) as caught:
        place.only({"wieght": 1}, ["weight", "density"])
    assert (caught.value.where, caught.value.hint) == ("m.yaml: wieght", 'did you mean "weight"?')
    with pytest.raises(ConfigError) as caught:
        place.only({"weight": 1, 3: 1}, ["weight"], lambda name: f"say what {name} is")
    assert (caught.value.where, caught.value.hint) == ("m.yaml: 3", "say what 3 is")
    place.only({"weight": 1}, ["weight", "density"])
