"""The law of what is not finite: every merge counts it as torch does and says where it comes from."""

from __future__ import annotations

import hashlib
from itertools import product
from pathlib import Path

import pytest
import torch

from cluster.local import LocalExecutor
from pipeline import run_merge
from pipeline.checkpoint.manifest import Manifest, read_manifest
from pipeline.plan.build import discarding
from pipeline.work.holding import merge_in_memory, nonfinite_in
from tests.helpers.broken import expected, spoil
from tests.helpers.crash import killed_at
from tests.helpers.merging import SETTINGS, merge, plan, small_tiles, tensors, weight_bytes, write_config
from tests.helpers.models import write_family

TYPES = ("float16", "bfloat16", "float32", "float64")
UP, NORM, HEAD = "model.layers.1.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight"


def chosen(share: int) -> list[tuple[str, str, str, str]]:
    """(setting, inputs' type, type of the arithmetic, output type), one in `share`, by their hash; every
    setting, and every output type, is among them.
    """
    cases = product(SETTINGS, TYPES, TYPES, TYPES)
    return [case for case in cases if hashlib.sha256(" ".join(case).encode()).digest()[0] % share == 0]


def broken_family(root: Path, dtype: str) -> tuple[Path, list[Path]]:
    """A base and three experts: NaN and Inf in two experts and in the base, and numbers near the type's end
    in all, so that merges overflow.
    """
    base, experts = write_family(root, experts=3, dtype=dtype, extra={"model.buffer": torch.arange(7)})
    nan, inf, largest = float("nan"), float("inf"), torch.finfo(getattr(torch, dtype)).max
    spoil(experts[1], UP, {3: nan, 40: inf, 41: -inf})
    spoil(experts[2], UP, {3: inf, 77: nan})
    spoil(base, HEAD, {500: -inf})
    for number, expert in enumerate(experts):
        spoil(expert, NORM, {2: largest, 5: -largest})
        spoil(expert, HEAD, {number: largest / 2})
    return base, experts


def said(manifest: Manifest) -> dict[str, tuple[int, str | None, int]]:
    """What a manifest says, as `expected` says it."""
    assert manifest.nonfinite is not None
    return {one.tensor: (one.count, one.model, one.overflowed) for one in manifest.nonfinite}


def test_the_chosen_cases_cover_methods_and_types() -> None:
    """The subset that is tried has every setting and, of each of the three types, every one."""
    for position, wanted in enumerate((SETTINGS, TYPES, TYPES, TYPES)):
        assert {case[position] for case in chosen(23)} == set(wanted)


@pytest.mark.parametrize(("setting", "stored", "compute", "out"), chosen(23))
def test_the_count_is_torchs(setting: str, stored: str, compute: str, out: str, tmp_path: Path) -> None:
    """For methods, arithmetic and types alike, a written merge, a trial and a merge in memory count the
    elements that torch counts in the written model, and name the input that torch finds first.
    """
    base, experts = broken_family(tmp_path / "models", stored)
    config = write_config(tmp_path / "merge.json", setting, base, experts, dtype=compute, out_dtype=out)
    manifest = merge(config, tmp_path / "out")
    read = experts if setting == "linear" else [base, *experts]
    wanted = expected(tensors(tmp_path / "out"), [(place, tensors(place)) for place in read])
    assert said(manifest) == wanted and said(manifest)[UP][1] == str(experts[1])
    assert read_manifest(tmp_path / "out") == manifest
    found = plan(config)
    with LocalExecutor(1) as executor:
        tried = run_merge(discarding(found), tmp_path / "trial", executor)
    assert tried.nonfinite == manifest.nonfinite
    assert nonfinite_in(found, merge_in_memory([found])[0]) == manifest.nonfinite


@pytest.mark.parametrize("setting", ["ties-model", "dare_ties"])
def test_cut_workers_and_executor_do_not_show(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole tensors or tiny pieces, one worker or three, threads or processes: the same counts and causes."""
    base, experts = broken_family(tmp_path / "models", "bfloat16")
    config = write_config(tmp_path / "merge.json", setting, base, experts)
    whole = merge(config, tmp_path / "whole", workers=1)
    assert whole.nonfinite
    with LocalExecutor(2, kind="process") as executor:
        apart = merge(config, tmp_path / "apart", executor=executor)
    small_tiles(monkeypatch, unit_bytes=1000)
    cut = merge(config, tmp_path / "cut", workers=3)
    assert len(cut.timings["units"]) > 2 * len(whole.timings["units"])
    assert whole.nonfinite == apart.nonfinite == cut.nonfinite


def test_a_killed_driver_forgets_no_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at any receipt, or when all is merged, and resumed: the counts are those of a calm run."""
    small_tiles(monkeypatch, unit_bytes=2000)
    base, experts = broken_family(tmp_path / "models", "bfloat16")
    config = write_config(tmp_path / "merge.json", "ties", base, experts)
    calm = merge(config, tmp_path / "calm")
    stops = [("cluster.ledger:Ledger.append", call) for call in (1, 4, 9)]
    for number, (point, call) in enumerate([*stops, ("pipeline.underway:furnish", 1)]):
        out = tmp_path / f"out{number}"

        def run(out: Path = out) -> Manifest:
            return merge(config, out)

        assert killed_at(point, call, run), "the stop was never reached"
        assert run().nonfinite == calm.nonfinite
        assert weight_bytes(out) == weight_bytes(tmp_path / "calm")


def test_a_clean_merge_reads_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all is finite nothing is traced, whatever the method, and the manifest says all is finite."""
    base, experts = write_family(tmp_path / "models", experts=3, dtype="bfloat16")
    monkeypatch.setattr("pipeline.underway.trace", None)
    for setting in SETTINGS:
        config = write_config(tmp_path / f"{setting}.json", setting, base, experts)
        assert merge(config, tmp_path / setting).nonfinite == ()
