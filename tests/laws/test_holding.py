"""The law of merges held in memory: the very bytes that the written merge has, several from one read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.local import LocalExecutor
from pipeline import run_merge
from pipeline.checkpoint import files
from pipeline.work import holding, reading
from pipeline.work.holding import merge_in_memory
from pipeline.work.orders import PieceOrder
from pipeline.work.reading import Load
from tests.helpers.merging import SETTINGS, plan, small_tiles, tensors, write_config
from tests.helpers.models import write_model


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A base and three experts in bfloat16."""
    folder = tmp_path_factory.mktemp("family")
    base = write_model(folder / "base", seed=1, dtype="bfloat16")
    experts = [
        write_model(folder / f"e{number}", seed=10 + number, base=base, delta=0.02, dtype="bfloat16")
        for number in range(3)
    ]
    return base, experts


#: So little that a few tensors of the family are cut.
TIGHT = 6_000


@pytest.mark.parametrize("memory_bytes", [1 << 30, TIGHT])
def test_a_merge_in_memory_is_the_written_one(
    family: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_bytes: int
) -> None:
    """All methods and scopes at once, held whole or in pieces: each has the bytes of its written merge."""
    small_tiles(monkeypatch)
    base, experts = family
    plans = []
    for setting in SETTINGS:
        config = write_config(tmp_path / f"{setting}.json", setting, base, experts)
        plans.append(plan(config, memory_bytes=memory_bytes))
    subset = write_config(tmp_path / "subset.json", "ties", base, experts[:2])
    plans.append(plan(subset, memory_bytes=memory_bytes))
    for number, held in enumerate(merge_in_memory(plans)):
        out = tmp_path / f"out{number}"
        with LocalExecutor(1) as executor:
            run_merge(plans[number], out, executor)
        written = tensors(out)
        assert list(held) == [tensor.spec.name for tensor in plans[number].tensors]
        assert held.keys() == written.keys()
        for name, tensor in written.items():
            assert held[name].dtype == tensor.dtype and held[name].shape == tensor.shape
            assert torch.equal(held[name].view(torch.uint8), tensor.view(torch.uint8)), (number, name)


def test_common_experts_are_read_once(
    family: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several merges of the same models read as many bytes as one of them does alone."""
    base, experts = family
    read: list[int] = []

    def counting(descriptor: int, view: memoryview, offset: int) -> None:
        read.append(len(view))
        files.read_into(descriptor, view, offset)

    monkeypatch.setattr(reading, "read_into", counting)
    plans = [
        plan(write_config(tmp_path / f"{setting}.json", setting, base, experts))
        for setting in ("ties", "dare_ties", "task_arithmetic")
    ]
    merge_in_memory(plans[:1])
    alone = sum(read)
    read.clear()
    merge_in_memory(plans)
    assert sum(read) == alone > 0


def test_tensors_come_in_the_plans_order(
    family: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever merges ask, running sums go by the order of tensors in the model."""
    small_tiles(monkeypatch)
    base, experts = family
    plans = [
        plan(write_config(tmp_path / f"{setting}.json", setting, base, experts), memory_bytes=TIGHT)
        for setting in ("ties", "ties-model")
    ]
    names = [tensor.spec.name for tensor in plans[0].tensors]
    assert 0 < len(plans[0].groups) < len(names), "the first merge counts a few tensors, the second all"
    passes: list[list[int]] = []
    loads = holding.shared_loads

    def noted(wanted: list[tuple[int, PieceOrder]], *given: Any, **named: Any) -> Iterator[tuple[int, Load]]:
        passes.append([names.index(order.tensor.spec.name) for _, order in wanted])
        return loads(wanted, *given, **named)

    monkeypatch.setattr(holding, "shared_loads", noted)
    merge_in_memory(plans)
    assert len(passes) > 2 and all(places == sorted(places) for places in passes)
