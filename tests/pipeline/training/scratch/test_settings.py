"""Settings of bases from scratch: read strictly, errors that say where."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config.place import Place
from pipeline.errors import ConfigError
from pipeline.training.scratch.settings import read_scratch, scratch_from_dict
from tests.pipeline.training.scratch.conftest import tiny

SHAPE = {"hidden": 32, "mlp": 64, "layers": 2, "heads": 2, "context": 64}


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ({"architecture": SHAPE}, "s"),
        ({"architecture": {**SHAPE, "heds": 2}, "tokens": 1}, "s.architecture.heds"),
        ({"architecture": {**SHAPE, "heads": 3}, "tokens": 1}, "s.architecture.heads"),
        ({"architecture": {**SHAPE, "heads": 32}, "tokens": 1}, "s.architecture.heads"),
        ({"architecture": {**SHAPE, "kv_heads": 3}, "tokens": 1}, "s.architecture.kv_heads"),
        ({"architecture": {**SHAPE, "tied": 1}, "tokens": 1}, "s.architecture.tied"),
        ({"architecture": SHAPE, "tokens": 0}, "s.tokens"),
        ({"architecture": SHAPE, "tokens": 2.5}, "s.tokens"),
        ({"architecture": SHAPE, "tokens": 1, "sequence": 65}, "s.architecture.context"),
        ({"architecture": SHAPE, "tokens": 1, "learning_rate": float("nan")}, "s.learning_rate"),
        ({"architecture": SHAPE, "tokens": 1, "schedule": "square"}, "s.schedule"),
        ({"architecture": SHAPE, "tokens": 1, "stored": "auto"}, "s.stored"),
        ({"architecture": SHAPE, "tokens": 1, "instruct": {}}, "s.instruct"),
        (
            {"architecture": SHAPE, "tokens": 1, "instruct": {"steps": 1, "max_length": 99}},
            "s.architecture.context",
        ),
        ("none", "s"),
    ],
)
def test_mistakes_are_named(raw: Any, where: str) -> None:
    """A setting that is missing, unknown, of the wrong type, out of range or contradictory is named."""
    with pytest.raises(ConfigError) as error:
        read_scratch(raw if raw == "none" else {"sequence": 32, **raw}, Place("f", "s"))
    assert error.value.where == f"f: {where}"


def test_settings_survive_the_trip_to_a_worker() -> None:
    """What `as_dict` gives makes the same settings again, with and without a second stage."""
    for settings in (tiny(), tiny(instruct=None)):
        assert scratch_from_dict(settings.as_dict()) == settings


def test_steps_cover_the_tokens() -> None:
    """The first stage reads at least the tokens asked for, in whole batches; the second is counted on top."""
    settings = tiny(tokens=8 * 32 * 3 + 1)
    assert (settings.steps, settings.total_steps) == (4, 12)
    assert tiny(tokens=8 * 32 * 3, instruct=None).total_steps == 3
