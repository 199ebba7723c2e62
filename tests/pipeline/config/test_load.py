"""The door of the config room: round trips of random configs, the canonical text and the fingerprint."""

from __future__ import annotations

import json
import math
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config.load import fingerprint, load_config, parse_config, to_dict
from pipeline.config.merge import MergeConfig, experts_of
from pipeline.config.parameters import knobs_of
from pipeline.errors import ConfigError
from pipeline.methods import load_method
from pipeline.plan.rules import settings_for
from pipeline.untrusted import canonical_json
from tests.helpers.configs import broken, valid_config
from tests.helpers.toy_methods import toys

pytestmark = pytest.mark.usefixtures("toys")
__all__ = ["toys"]
ROUNDS = 300
LINEAR: dict[str, Any] = {
    "merge_method": "linear",
    "models": [{"model": "a"}, {"model": "b"}],
    "parameters": {"weight": 1},
}


def test_round_trip_of_random_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """to_dict gives data that reads back as an equal config, through Python, YAML and JSON alike."""
    monkeypatch.chdir(tmp_path)
    for seed in range(ROUNDS):
        config = parse_config(valid_config(random.Random(seed)))
        data = to_dict(config)
        assert parse_config(data) == config, seed
        assert canonical_json(to_dict(parse_config(data))) == canonical_json(data), seed
        if seed % 10 == 0:
            for name, text in {
                "c.yaml": yaml.safe_dump(data),
                "c.json": json.dumps(data),
                "c": json.dumps(data),
            }.items():
                (tmp_path / name).write_text(text)
                assert load_config(name) == config, (seed, name)


def test_every_valid_config_has_settings() -> None:
    """What was accepted gives, for every tensor that has values at all, knobs within the declared ranges."""
    for seed in range(ROUNDS):
        config = parse_config(valid_config(random.Random(seed)))
        method = load_method(config.merge_method)
        try:
            settings = settings_for(config, method, "model.layers.1.mlp.up_proj.weight", 0.5)
        except ConfigError as error:
            assert "filters do not match" in error.found, seed
            continue
        assert set(settings) == {knob.name for knob in method.knobs}
        for knob in method.knobs:
            values = settings[knob.name] if knob.scope == "model" else (settings[knob.name],)
            assert len(values) == (len(experts_of(config, method)) if knob.scope == "model" else 1)
            for value in values:
                assert knob.low is None or knob.low <= value, seed
                assert knob.high is None or value <= knob.high, seed
                assert not knob.choices or value in knob.choices, seed


def test_broken_configs_give_only_our_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config with one node replaced, renamed or removed is accepted, or refused by a ConfigError."""
    monkeypatch.chdir(tmp_path)
    refused = 0
    for seed in range(10 * ROUNDS):
        rng = random.Random(seed)
        data = broken(rng, valid_config(rng))
        try:
            config = parse_config(data, "m.yaml")
        except ConfigError as error:
            refused += 1
            assert error.where.startswith("m.yaml"), seed
            assert len(str(error)) < 2000, seed
        else:
            assert parse_config(to_dict(config)) == config, seed
    assert refused > 3 * ROUNDS


def test_equal_meaning_is_equal() -> None:
    """Ways of writing, source and notes do not tell configs apart; values do."""
    plain = parse_config(LINEAR)
    written = parse_config(
        {
            **LINEAR,
            "models": [
                {"model": {"model": {"path": "a"}}, "parameters": None},
                {"model": "b", "parameters": {}},
            ],
            "parameters": {"int8_mask": True, "weight": [{"value": 1.0, "filter": "*"}]},
            "base_model": None,
        },
        "other.yaml",
    )
    assert written == plain and hash(written) == hash(plain)
    assert written.notes and not plain.notes
    assert fingerprint(to_dict(written)) == fingerprint(to_dict(plain))
    assert parse_config({**LINEAR, "parameters": {"weight": 2}}) != plain


def test_configs_travel() -> None:
    """A config survives pickling, with source and notes."""
    config = parse_config({**LINEAR, "parameters": {"weight": [0, 1], "int8_mask": True}}, "m.yaml")
    copy: MergeConfig = pickle.loads(pickle.dumps(config))
    assert (copy, copy.source, copy.notes) == (config, "m.yaml", config.notes)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [1.0, True, None]}, '{"a":[1.0,true,null],"b":1}'),
        (0.1 + 0.2, "0.30000000000000004"),
        (5e-324, "5e-324"),
        ("ü\udce4", '"\\u00fc\\udce4"'),
        ((1, 2), "[1,2]"),
    ],
)
def test_canonical_json(value: object, text: str) -> None:
    """The canonical text is sorted, compact, ASCII, and exact in its numbers."""
    assert canonical_json(value) == text


def test_canonical_json_writes_what_configs_hold() -> None:
    """Infinity and NaN, which configs of real models hold, have one text as well."""
    assert canonical_json([math.inf, -math.inf, math.nan]) == "[Infinity,-Infinity,NaN]"


def test_fingerprint() -> None:
    """The fingerprint is a fixed function of the value, the same for every order of keys."""
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 1.0})
    assert fingerprint({}) == "dc7048f8f8747f561349cde127705c16"


def test_semantics_is_a_parameter_of_every_method() -> None:
    """`semantics` is known to every method and mergekit's is the default."""
    assert "semantics" in knobs_of(load_method("linear"))
    assert parse_config(LINEAR).semantics == "mergekit"
    assert parse_config({**LINEAR, "parameters": {"semantics": "paper"}}).semantics == "paper"
