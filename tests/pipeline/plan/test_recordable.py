"""What a manifest cannot record is refused by planning, before any work."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.config.load import parse_config
from pipeline.errors import CheckpointError, ConfigError
from pipeline.plan.build import plan_merge
from tests.helpers.models import write_family


def config(base: Path, expert: Path, **parameters: object) -> dict[str, object]:
    """A merge of one expert into its base."""
    entry = {"model": str(expert), "parameters": {"weight": 0.5, **parameters}}
    return {"merge_method": "task_arithmetic", "base_model": str(base), "models": [entry]}


def test_a_path_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """Models in a directory whose name no manifest can hold are refused with the way out."""
    write_family(tmp_path / "place", experts=1)
    place = (tmp_path / "place").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    base, expert = place / "base", place / "expert_0"
    with pytest.raises(CheckpointError) as caught:
        plan_merge(parse_config(config(base, expert)))
    assert caught.value.exit_code == 2
    assert "not UTF-8" in caught.value.what and "rename" in caught.value.hint
    str(caught.value).encode("utf-8")


def test_a_config_with_half_a_character_is_refused(tmp_path: Path) -> None:
    """Text of a config that is not Unicode is named with its place."""
    base, (expert,) = write_family(tmp_path, experts=1)
    data = config(base, expert, weight=[{"filter": "\ud800", "value": 1.0}, {"value": 0.5}])
    with pytest.raises(ConfigError) as caught:
        plan_merge(parse_config(data, "m.yaml"))
    assert caught.value.where == "m.yaml: models[0].parameters.weight[0].filter"


def test_files_beside_the_weights_are_part_of_the_plan(tmp_path: Path) -> None:
    """A base with another tokenizer, or with one more file, makes another plan; the experts' do not count."""
    base, (expert,) = write_family(tmp_path, experts=1, tokenizer=True)
    planned = plan_merge(parse_config(config(base, expert)))
    assert plan_merge(parse_config(config(base, expert))).fingerprint == planned.fingerprint
    table = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps({**table, "model_max_length": 65}))
    changed = plan_merge(parse_config(config(base, expert)))
    (base / "labels.txt").write_text("x")
    more = plan_merge(parse_config(config(base, expert)))
    assert len({planned.fingerprint, changed.fingerprint, more.fingerprint}) == 3
    (expert / "labels.txt").write_text("y")
    assert plan_merge(parse_config(config(base, expert))).fingerprint == more.fingerprint


def test_a_broken_companion_fails_the_plan(tmp_path: Path) -> None:
    """A file that would be found broken when all is merged is found when nothing is."""
    base, (expert,) = write_family(tmp_path, experts=1, tokenizer=True)
    (base / "tokenizer_config.json").write_text("{")
    with pytest.raises(CheckpointError) as caught:
        plan_merge(parse_config(config(base, expert)))
    assert caught.value.where == str(base / "tokenizer_config.json")
