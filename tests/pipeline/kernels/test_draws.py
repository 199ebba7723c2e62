"""The random masks: reproducible anywhere, and as good as independent coins."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from pipeline.kernels.keys import stream_key
from pipeline.kernels.plain.draws import Draws
from tests.helpers.references.dare import survives

CPU = torch.device("cpu")
COUNT = 1 << 18


def mask(
    density: float, *, start: int = 0, count: int = COUNT, seed: int = 0, model: str = "m", tensor: str = "t"
) -> Tensor:
    """A fresh copy of one mask."""
    return Draws(start, count, CPU).keep(stream_key(seed, model, tensor), density).clone()


def correlation(one_N: Tensor, other_N: Tensor) -> float:
    """Sample correlation of two masks, in units of its standard error under independence."""
    pair = torch.stack([one_N, other_N]).double()
    return float(torch.corrcoef(pair)[0, 1]) * math.sqrt(len(one_N))


@pytest.mark.parametrize("start", [0, 1, 6, 7, 2**31 - 3, 2**33 + 5, 2**40])
def test_equals_the_written_hash(start: int) -> None:
    """Every entry is the coin that the module describes in words, at any index, odd or even or huge."""
    for density in (0.0, 0.2, 0.5, 0.999):
        expected = [survives(5, "a@main", "x.weight", start + i, density) for i in range(33)]
        found_N = mask(density, start=start, count=33, seed=5, model="a@main", tensor="x.weight")
        assert found_N.tolist() == expected


def test_parts_are_slices_of_the_whole() -> None:
    """The mask of a part is the part of the mask, wherever it begins and however long it is."""
    whole_N = mask(0.3, count=1000)
    for start in range(0, 60, 7):
        for count in (0, 1, 2, 31, 64):
            assert torch.equal(mask(0.3, start=start, count=count), whole_N[start : start + count])


@pytest.mark.parametrize("density", [0.001, 0.1, 0.2, 0.5, 0.9])
def test_share_that_survives(density: float) -> None:
    """The share kept is the density, within five standard errors, among even and odd entries alike."""
    kept_N = mask(density)
    for part_N in (kept_N, kept_N[0::2], kept_N[1::2]):
        error = math.sqrt(density * (1 - density) / len(part_N))
        assert abs(float(part_N.double().mean()) - density) < 5 * error


def test_certain_coins() -> None:
    """Density 0 keeps nothing, 1 and what rounds to it keep everything."""
    assert int(mask(0.0).sum()) == 0
    assert int(mask(1.0).sum()) == COUNT
    assert int(mask(1 - 2.0**-40).sum()) == COUNT


def test_denser_masks_contain_sparser_ones() -> None:
    """An entry that survives at one density survives at every higher one."""
    masks = [mask(density) for density in (0.1, 0.3, 0.5, 0.8)]
    for low_N, high_N in itertools.pairwise(masks):
        assert bool((low_N <= high_N).all())


@pytest.mark.parametrize("distance", [1, 2, 3, 64, 4096])
def test_neighbours_are_independent(distance: int) -> None:
    """Entries some way apart are uncorrelated."""
    kept_N = mask(0.5)
    assert abs(correlation(kept_N[:-distance], kept_N[distance:])) < 5


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"model": "n"}, {"tensor": "u"}, {"model": "mt", "tensor": ""}, {"seed": 10, "model": ""}],
    ids=str,
)
def test_streams_are_independent(other: dict[str, int | str]) -> None:
    """Another seed, model or tensor gives an uncorrelated mask, also at small shifts against each other."""
    one_N, other_N = mask(0.5), mask(0.5, **other)  # type: ignore[arg-type]
    for shift in range(4):
        assert abs(correlation(one_N[: COUNT - shift], other_N[shift:])) < 5


def test_runs_are_as_long_as_coins_make_them() -> None:
    """Groups of eight entries take their 256 patterns equally often (chi-square within five standard
    deviations).
    """
    weights = 2 ** torch.arange(8)
    patterns = (mask(0.5, count=COUNT).view(-1, 8).long() * weights).sum(1)
    counts = torch.bincount(patterns, minlength=256).double()
    expected = len(patterns) / 256
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_square - 255) < 5 * math.sqrt(2 * 255)
