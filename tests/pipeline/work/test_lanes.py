"""Lanes: torch is the reference; compiled loops and the CUDA lane give the same from the same orders."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from pipeline.errors import RunError
from pipeline.plan import cost
from pipeline.work import lanes, unit
from pipeline.work.lanes import CpuLane, Lane, Staged
from pipeline.work.torch_lanes import Copies, CudaLane
from tests.helpers.merging import SETTINGS, merge, small_tiles, tensors, weight_bytes, write_config
from tests.helpers.models import write_family


class CopiesOnCpu(Copies):
    """The CUDA lane's copies without a GPU, each made as late as a GPU might make it: a buffer that is used
    again too early shows.
    """

    def __init__(self) -> None:
        self.waited = 0
        self._returning: list[tuple[torch.Tensor, torch.Tensor]] = []

    def start(self, views: tuple[torch.Tensor, ...]) -> tuple[tuple[torch.Tensor, ...], object]:
        """Promise copies."""
        return tuple(torch.empty_like(view) for view in views), views

    def arrive(self, staged: Staged) -> None:
        """Make them, as the lane asks for them."""
        for copy, view in zip(staged.inputs, staged.ready, strict=True):
            copy.copy_(view)
        self.waited += 1

    def back(self, host: torch.Tensor, values: torch.Tensor) -> None:
        """Promise to bring results back."""
        self._returning.append((host, values.clone()))

    def finish(self) -> None:
        """Bring them."""
        for host, values in self._returning:
            host.copy_(values)
        self._returning.clear()


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_cuda_lanes_path_gives_the_cpu_lanes_bytes(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CUDA lane's code, run with torch's CPU device in place of a GPU, lays down the same bytes."""
    base, experts = write_family(tmp_path / "models", experts=3, dtype="bfloat16", hidden=24)
    config = write_config(tmp_path / "merge.json", setting, base, experts)
    small_tiles(monkeypatch)
    merge(config, tmp_path / "cpu")
    made: list[CopiesOnCpu] = []

    def lane(device: str) -> Lane:
        made.append(CopiesOnCpu())
        found = CudaLane(made[-1])
        found.tile_elements, found.load_elements = cost.TILE_ELEMENTS["cpu"], cost.LOAD_ELEMENTS["cpu"]
        return found

    monkeypatch.setattr(unit, "make_lane", lane)
    merge(config, tmp_path / "cuda")
    assert weight_bytes(tmp_path / "cuda") == weight_bytes(tmp_path / "cpu")
    assert sum(copies.waited for copies in made) > len(made) > 0


@pytest.mark.parametrize("setting", SETTINGS)
def test_without_numba_the_bytes_are_the_same(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled loops lay down what plain torch lays down, for every setting and in half precision too."""
    for dtype in ("bfloat16", "float16", "float32"):
        base, experts = write_family(tmp_path / dtype / "models", experts=3, dtype=dtype, hidden=24)
        config = write_config(tmp_path / dtype / "merge.json", setting, base, experts)
        small_tiles(monkeypatch, tile=144, load=288)
        merge(config, tmp_path / dtype / "compiled")
        with monkeypatch.context() as patch:
            patch.setattr(lanes, "has_fused", lambda: False)
            patch.setattr(unit, "make_lane", lambda device: CpuLane())
            merge(config, tmp_path / dtype / "plain")
        assert weight_bytes(tmp_path / dtype / "plain") == weight_bytes(tmp_path / dtype / "compiled")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_gpu_agrees_with_the_cpu(setting: str, tmp_path: Path) -> None:
    """On a real GPU every merged value is within one rounding of the CPU's."""
    from cluster.local import LocalExecutor
    from pipeline import load_config, plan_merge, run_merge

    base, experts = write_family(tmp_path / "models", experts=3, hidden=64, vocab=512)
    config = write_config(tmp_path / "merge.json", setting, base, experts)
    merge(config, tmp_path / "cpu")
    with LocalExecutor(1) as executor:
        run_merge(plan_merge(load_config(config), device="cuda"), tmp_path / "gpu", executor)
    expected = tensors(tmp_path / "cpu")
    for name, found in tensors(tmp_path / "gpu").items():
        torch.testing.assert_close(found, expected[name], rtol=1.3e-6, atol=1e-8)


def test_a_numba_that_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a numpy that it does not know numba fails on import: the merge says so and what to do."""
    config = write_config(tmp_path / "merge.json", "ties", *write_family(tmp_path / "models", experts=2))
    monkeypatch.setitem(sys.modules, "pipeline.kernels.fused.block", None)
    lanes._fused_forms.cache_clear()
    with pytest.raises(RunError, match="numba is installed here but cannot be loaded") as caught:
        merge(config, tmp_path / "out")
    assert "install a numba" in caught.value.hint
