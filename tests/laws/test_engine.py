"""The engine, with files, units and tiny tiles, computes what the simplest driver computes in memory."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from pipeline.checkpoint.layout import natural_key
from pipeline.kernels.contract import Window
from pipeline.methods import load_method
from pipeline.methods.parts import windows
from tests.helpers import driver
from tests.helpers.cases import same_bits
from tests.helpers.merging import SETTINGS, merge, small_tiles, tensors, weight_bytes, write_config
from tests.helpers.models import write_family


@pytest.mark.parametrize("setting", SETTINGS)
def test_engine_equals_driver(setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merging checkpoints tile by tile gives the bytes of merging whole tensors in memory."""
    base, experts = write_family(tmp_path, experts=3, shards=2)
    config = write_config(tmp_path / "merge.json", setting, base, experts)
    small_tiles(monkeypatch)
    merge(config, tmp_path / "out", memory_bytes=1 << 20)
    settings = json.loads(config.read_text())
    method = load_method(settings["merge_method"])
    per_model = [entry["parameters"] for entry in settings["models"]]
    chosen = {name: tuple(values[name] for values in per_model) for name in per_model[0]}
    knobs = driver.resolve(method, 3, **chosen, **settings["parameters"])
    base_of, experts_of = tensors(base), [tensors(expert) for expert in experts]
    given = [
        driver.Given(
            name,
            None if method.traits.base == "ignored" else base_of[name].flatten(),
            torch.stack([of[name].flatten() for of in experts_of]),
        )
        for name in sorted(base_of, key=natural_key)
    ]
    expected = driver.merge(method, given, knobs, models=[str(expert) for expert in experts])
    for name, merged in tensors(tmp_path / "out").items():
        assert same_bits(merged.flatten(), expected[name]), name


def test_receipts_name_the_rounds_that_held_pieces_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a guess of the threshold misses, receipts show the rounds more that it took, and bytes stay."""
    base, experts = write_family(tmp_path / "models", experts=3, dtype="float32", vocab=5000, hidden=64)
    config = write_config(tmp_path / "merge.json", "ties", base, experts)

    def rounds(out: Path) -> Counter[str]:
        found: Counter[str] = Counter()
        for unit in merge(config, out).timings["units"]:
            found.update(unit["rounds"])
        return found

    good = rounds(tmp_path / "good")
    assert good["magnitudes.sample"] == good["magnitudes.near"] > 0
    assert not any(name.removeprefix("magnitudes.").isdigit() for name in good)
    # A window far beside the threshold: patterns from the largest finite one on.
    monkeypatch.setattr(windows, "near", lambda *_: Window(0x7F7F0000, 0, 16))
    missed = rounds(tmp_path / "missed")
    assert any(name.removeprefix("magnitudes.").isdigit() for name in missed)
    assert weight_bytes(tmp_path / "missed") == weight_bytes(tmp_path / "good")
