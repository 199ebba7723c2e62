"""Rounds over a whole model: how often it is read, and what is read off the partials of an earlier round."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.measuring import Measuring
from pipeline.plan import cost
from pipeline.plan.plan import UnitPlan
from tests.helpers.merging import merge, plan, small_tiles, weight_bytes, write_config
from tests.helpers.models import write_family


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TIES config trimmed over the whole model; deltas of bfloat16 experts meet the threshold often."""
    base, experts = write_family(tmp_path / "models", experts=3, dtype="bfloat16", hidden=32)
    small_tiles(monkeypatch)
    return write_config(tmp_path / "merge.json", "ties-model", base, experts)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the rounds for which units were run, in order."""
    names: list[str] = []
    ask = Measuring.ask

    def noted(self: Measuring) -> bool:
        found = ask(self)
        names.extend(sorted({order.round.name for _, order in self.todo if order.round is not None}))
        return found

    monkeypatch.setattr(Measuring, "ask", noted)
    return names


def test_a_whole_model_is_sampled_and_counted_once(config: Path, tmp_path: Path, measured: list[str]) -> None:
    """Thresholds and ties of a whole model take a sample and one count; the majority of signs is one more."""
    merge(config, tmp_path / "out")
    assert measured == ["magnitudes.sample", "magnitudes.near", "majority"]


def test_ties_read_off_are_ties_counted(
    config: Path, tmp_path: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting equal entries in a pass of their own gives the bytes that reading them off gives."""
    merge(config, tmp_path / "read-off")
    monkeypatch.setattr(Measuring, "_recall", lambda *given: None)
    merge(config, tmp_path / "counted")
    assert measured.count("ties") == 1
    assert weight_bytes(tmp_path / "counted") == weight_bytes(tmp_path / "read-off")


def test_a_thin_sample_changes_no_byte(
    config: Path, tmp_path: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few elements the guess is made from, what comes out is the same."""
    merge(config, tmp_path / "whole")
    monkeypatch.setattr(cost, "SAMPLE_LEAST", 8)
    monkeypatch.setattr(cost, "SAMPLE_RUN", 4)
    merge(config, tmp_path / "thin")
    assert weight_bytes(tmp_path / "thin") == weight_bytes(tmp_path / "whole")
    assert measured.count("magnitudes.sample") == 2


def test_tables_are_held_for_the_groups_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tensors are counted in pieces, the driver holds the tables of those being counted only."""
    base, experts = write_family(tmp_path / "models", experts=3, dtype="bfloat16", hidden=32)
    small_tiles(monkeypatch)
    config = write_config(tmp_path / "merge.json", "ties", base, experts)
    counted, held = set(), []
    take = Measuring.take

    def noted(self: Measuring, unit: UnitPlan, value: Mapping[str, Any]) -> None:
        take(self, unit, value)
        counted.add(unit.group)
        held.append(sum(bool(measured.folded) for measured in self._measured.values()))

    monkeypatch.setattr(Measuring, "take", noted)
    merge(config, tmp_path / "out", memory_bytes=20_000, workers=1)
    assert len(counted) > 3 and max(held) == 1


@pytest.mark.parametrize(
    ("setting", "parameters", "passes"),
    [
        ("ties-model", {"zero_sign": "positive"}, 1),
        ("ties-model", {"zero_sign": "majority"}, 2),
        ("ties-model", {"zero_sign": "majority", "rescale": True}, 3),
        ("dare_linear", {"rescale": "l1"}, 1),
        ("dare_ties", {"rescale": "l1", "trim_density": 0.5}, 2),
        ("dare_ties", {"rescale": "l1", "trim_density": 0.5, "zero_sign": "majority"}, 3),
    ],
)
def test_the_plan_knows_how_often_all_is_read(
    setting: str, parameters: dict[str, Any], passes: int, tmp_path: Path, measured: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As many rounds over the whole model as the plan counts, a sample apart; then all is read once more."""
    base, experts = write_family(tmp_path / "models", experts=3, dtype="bfloat16", hidden=32)
    small_tiles(monkeypatch)
    knobs = {"trim_scope": "model", **parameters}
    config = write_config(tmp_path / "merge.json", setting, base, experts, parameters=knobs)
    merge(config, tmp_path / "out")
    assert len([name for name in measured if name != "magnitudes.sample"]) == passes
    found = plan(config)
    assert found.cost.read_bytes == (passes + 1) * sum(unit.read_bytes for unit in found.units)
