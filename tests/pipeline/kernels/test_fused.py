"""Compiled loops against plain torch: the same bits for every primitive, type, length and broken number."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.kernels.contract import Block, Drop, Losses, Trim, Window
from pipeline.kernels.fused.block import FusedBlock, Stored
from pipeline.kernels.plain.bits import magnitude_bits_
from pipeline.kernels.plain.block import PlainBlock
from pipeline.kernels.plain.deltas import canonical_nan_
from pipeline.kernels.rounding import rounded

EXPERTS = 5
DTYPES = {name: getattr(torch, name) for name in ("bfloat16", "float16", "float32", "float64")}
COMPUTE = ("float32", "bfloat16", "float16")
#: One element, less than a vector, a tile and three, all odd; and a whole tile.
LENGTHS = (1, 7, 2048, 2051)
BROKEN = (float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, 65504.0, 1e-8)
WEIGHTS = (1.0, 0.5, -0.25, 2.0, 0.3)


def numbers(kind: str, numel: int, seed: int) -> Tensor:
    """ "tame": like weights. "wild": every exponent; NaN, Inf, subnormals and both zeros among them."""
    generator = torch.Generator().manual_seed(seed)
    values_N = torch.randn(numel, generator=generator) * 0.02
    if kind == "wild":
        values_N *= torch.exp2(torch.randint(-140, 120, (numel,), generator=generator).float())
        order = torch.randperm(numel, generator=generator)
        for place, broken in enumerate(BROKEN):
            values_N[order[place::37][:3]] = broken
    return values_N


def as_bytes(values_N: Tensor) -> NDArray[np.uint8]:
    """The tensor's memory."""
    found: NDArray[np.uint8] = values_N.contiguous().view(torch.uint8).numpy()
    return found


@dataclass(frozen=True)
class Pair:
    """The same block in both forms, and the types of its inputs, arithmetic and output."""

    kind: str
    numel: int
    read: str
    compute: str
    write: str

    def inputs(self) -> list[Tensor]:
        """Base and experts in their stored type; every other expert lies near the base."""
        base_N = numbers(self.kind, self.numel, 0)
        experts = [
            base_N + numbers("tame", self.numel, e) * 0.05 if e % 2 else numbers(self.kind, self.numel, e)
            for e in range(1, EXPERTS + 1)
        ]
        return [values_N.to(DTYPES[self.read]) for values_N in (base_N, *experts)]

    def plain(self) -> PlainBlock:
        """In torch."""
        base_N, *experts = (values_N.to(DTYPES[self.compute]) for values_N in self.inputs())
        return PlainBlock("w", 7, tuple("abcde"), base_N, torch.stack(experts))

    def fused(self) -> FusedBlock:
        """In compiled loops; the result is laid over bytes that are not zero."""
        base, *experts = (Stored(as_bytes(values_N), self.read) for values_N in self.inputs())
        out = np.full(self.numel * DTYPES[self.write].itemsize, 0x5A, np.uint8)
        names = tuple("abcde")
        return FusedBlock("w", 7, self.numel, names, self.compute, base, tuple(experts), self.write, out)

    def written(self, merged_N: Tensor) -> NDArray[np.uint8]:
        """What torch merged, as it is written."""
        return as_bytes(canonical_nan_(merged_N.to(DTYPES[self.write]).clone()))

    def losses(self) -> dict[str, list[Losses]]:
        """Nothing lost; trimmed at a magnitude that occurs; dropped at random and rescaled; both."""
        base_N, *experts = (values_N.to(DTYPES[self.compute]) for values_N in self.inputs())
        patterns = [int(magnitude_bits_(expert_N - base_N)[self.numel // 2]) for expert_N in experts]
        trims = [Trim(pattern, equal) for pattern, equal in zip(patterns, (None, 0, 1, 2, None), strict=True)]
        drops = [Drop(123 * e + (1 << 63), density) for e, density in enumerate((0.3, 0.9, 0.0, 0.5, 1.0))]
        factors = (1.0, 1.111, 3.0, 2.0, 1.0)
        return {
            "nothing": [Losses()] * EXPERTS,
            "trimmed": [Losses(trim=trim) for trim in trims],
            "dropped": [Losses(drop, factor=f) for drop, f in zip(drops, factors, strict=True)],
            "both": [Losses(drop, trim, 0.7) for drop, trim in zip(drops, trims, strict=True)],
        }


def pairs(kind: str, writes: Sequence[str] = ("bfloat16",)) -> list[Pair]:
    """Every combination of length and types."""
    return [Pair(kind, *rest) for rest in itertools.product(LENGTHS, DTYPES, COMPUTE, writes)]


@pytest.mark.parametrize("kind", ["tame", "wild"])
def test_averages_are_the_same_bits(kind: str) -> None:
    """The weighted average, over every type read, computed in and written."""
    for pair in pairs(kind, tuple(DTYPES)):
        expected = pair.plain().average(WEIGHTS, 1.7)
        assert np.array_equal(pair.fused().average(WEIGHTS, 1.7), pair.written(expected)), pair


@pytest.mark.parametrize("kind", ["tame", "wild"])
def test_sums_are_the_same_bits(kind: str) -> None:
    """The weighted sum of dense, trimmed, dropped and rescaled deltas."""
    for pair in pairs(kind, ("bfloat16", "float32")):
        weights = [rounded(weight, pair.compute) for weight in WEIGHTS]
        for name, losses in pair.losses().items():
            expected = pair.plain().weighted_sum(losses, weights, 1.3, 0.4)
            found = pair.fused().weighted_sum(losses, weights, 1.3, 0.4)
            assert np.array_equal(found, pair.written(expected)), (pair, name)


@pytest.mark.parametrize("kind", ["tame", "wild"])
@pytest.mark.parametrize(("normalize", "zero_sign"), [(True, 1), (False, -1), (True, -1)])
def test_elected_means_are_the_same_bits(kind: str, normalize: bool, zero_sign: int) -> None:
    """The elected mean and the balance of signs, with a divisor and without, whatever a draw elects."""
    for pair in pairs(kind):
        weights = [rounded(weight, pair.compute) for weight in WEIGHTS]
        for name, losses in pair.losses().items():
            found = [
                block.elected_mean(losses, weights, normalize=normalize, factor=0.4, zero_sign=zero_sign)
                for block in (pair.plain(), pair.fused())
            ]
            assert np.array_equal(found[1], pair.written(found[0])), (pair, name)
            balances = [block.elected_balance(losses, weights) for block in (pair.plain(), pair.fused())]
            assert balances[0] == balances[1], (pair, name)


def test_counts_are_the_same() -> None:
    """Digits, windows, what lies above them, and equals of a threshold. NaNs, whose payloads differ, are left
    out.
    """
    windows = [Window(0x3A000000, 4, 1 << 16), Window(0, 0, 1), Window(0, 16, 1 << 15)]
    slots = [0, 2, 3]
    for pair in pairs("tame"):
        for name, losses in pair.losses().items():
            thresholds = [loss.trim.pattern if loss.trim else 0x3A800000 for loss in losses]
            patterns = [thresholds[slot] for slot in slots]
            found = [
                counted(block, slots, losses, windows, patterns) for block in (pair.plain(), pair.fused())
            ]
            assert all(np.array_equal(*arrays) for arrays in zip(*found, strict=True)), (pair, name)


def counted(
    block: Block, slots: list[int], losses: list[Losses], windows: list[Window], patterns: list[int]
) -> list[NDArray[np.int64]]:
    """All that a block counts; the first expert is looked at through two windows."""
    digits = np.zeros((3, 1 << 15), np.int64)
    block.coarse_digits(slots, losses, digits)
    counts, above = np.zeros((1 << 16) + 1 + (1 << 15), np.int64), np.zeros(3, np.int64)
    block.window_digits([slots[0], slots[0], slots[2]], losses, windows, counts, above)
    return [digits, counts, above, block.equals(slots, losses, [patterns[0], None, patterns[2]])]


@pytest.mark.parametrize("kind", ["tame", "wild"])
def test_norms_are_the_same_integers(kind: str) -> None:
    """Exact sums before and after the losses, over numbers of ordinary and of all exponents."""
    for pair in pairs(kind):
        for name, losses in pair.losses().items():
            expected = pair.plain().norms([0, 2, 3, 4], losses)
            assert pair.fused().norms([0, 2, 3, 4], losses) == expected, (pair, name)


@pytest.mark.parametrize("top", [-126, -100, 0, 127])
def test_norms_of_full_tiles_lose_no_bit(top: int) -> None:
    """Tiles full of the largest mantissas, and a number any distance below them: their exact sum."""
    base = Stored(as_bytes(torch.zeros(3000)), "float32")
    for distance in range(40):
        values_N = torch.full((3000,), (2.0 - 2**-23) * 2.0**top)
        values_N[5] = 2.0**-distance * (1 + 2**-23) * 2.0**top
        exact = sum(Fraction(abs(value)) for value in values_N.tolist())
        expert = Stored(as_bytes(values_N), "float32")
        block = FusedBlock("w", 0, 3000, ("a",), "float32", base, (expert,), "float32", np.empty(0, np.uint8))
        assert [Fraction(n, 1 << 1074) for n in block.norms([0], [Losses()])[0]] == [exact, exact]


def test_equals_counted_while_trimming_are_those_counted_alone() -> None:
    """After a merge the block knows how many entries met the threshold, kept or not."""
    pair = Pair("tame", 2051, "bfloat16", "float32", "bfloat16")
    losses = pair.losses()["trimmed"]
    patterns = [loss.trim.pattern if loss.trim else None for loss in losses]
    merged, fresh = pair.fused(), pair.fused()
    merged.weighted_sum(losses, WEIGHTS, 1.0, 1.0)
    nothing = pair.losses()["nothing"]
    slots = list(range(EXPERTS))
    assert np.array_equal(merged.equals(slots, nothing, patterns), fresh.equals(slots, nothing, patterns))
    assert int(fresh.equals(slots, nothing, patterns).min()) >= 1
