"""Folding is exact in any order and grouping; packing loses nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cluster.fold import Partial, exclusive_scan, fold, pack, unpack

INT64 = np.iinfo(np.int64)


def partial(seed: int, share: float = 0.05) -> Partial:
    """Mostly-zero histograms and a few totals."""
    rng = np.random.default_rng(seed)
    bins = np.where(rng.random((3, 4096)) < share, rng.integers(-5, 10**12, (3, 4096)), 0)
    return {"bins": bins, "total": rng.integers(0, 2**60, ()), "empty": np.zeros((0, 7), np.int64)}


def same(left: Partial, right: Partial) -> bool:
    """Equal keys, shapes, dtypes and numbers."""
    return left.keys() == right.keys() and all(
        left[key].dtype == right[key].dtype and np.array_equal(left[key], right[key]) for key in left
    )


def test_order_and_grouping_do_not_matter() -> None:
    """Every order of four partials, folded at once, one by one or as a tree, gives the same numbers."""
    parts = [partial(seed) for seed in range(4)]
    whole = fold(*parts)
    for a, b, c, d in itertools.permutations(parts):
        assert same(whole, fold(fold(fold(a, b), c), d))
        assert same(whole, fold(fold(a, b), fold(c, d)))


def test_folding_leaves_its_input_alone() -> None:
    """The sum is a new array, even of a single partial."""
    part = partial(0)
    total = fold(part)
    total["bins"] += 1
    assert same(part, partial(0))


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        ({"a": np.zeros(2, np.int64)}, {"b": np.zeros(2, np.int64)}, "keys"),
        ({"a": np.zeros(2, np.int64)}, {"a": np.zeros(1, np.int64)}, "differ in the shape"),
        ({"a": np.zeros(2, np.int64)}, {"a": np.zeros(2)}, "not int64"),
    ],
)
def test_partials_that_do_not_match_are_refused(left: Partial, right: Partial, message: str) -> None:
    """Different keys, shapes or dtypes are an error, never a broadcast or a cast."""
    with pytest.raises(ValueError, match=message):
        fold(left, right)


def test_folding_nothing_is_refused() -> None:
    """There is no sum of no partials: nobody knows its keys."""
    with pytest.raises(ValueError, match="nothing to fold"):
        fold()


@pytest.mark.parametrize(("one", "two"), [(INT64.max, 1), (INT64.min, -1), (INT64.min, INT64.min)])
def test_overflow_is_an_error(one: int, two: int) -> None:
    """A sum that leaves int64 is refused, not wrapped."""
    with pytest.raises(OverflowError):
        fold({"a": np.array([one])}, {"a": np.array([two])})


def test_large_sums_that_fit_are_exact() -> None:
    """Numbers at the ends of int64 add up exactly where their sums fit, element by element."""
    total = fold({"a": np.array([INT64.max, 5])}, {"a": np.array([INT64.min, INT64.max - 5])})
    assert total["a"].tolist() == [-1, INT64.max]


def test_exclusive_scan_is_the_sum_of_those_before() -> None:
    """Element i of the scan is the fold of the first i partials, zeros for the first."""
    parts = [partial(seed) for seed in range(4)]
    sums = exclusive_scan(parts)
    assert len(sums) == 4 and not any(array.any() for array in sums[0].values())
    for number in range(1, 4):
        assert same(sums[number], fold(*parts[:number]))
    assert exclusive_scan([]) == []


def test_exclusive_scan_checks_the_last_too() -> None:
    """The last partial, which enters no sum, must match like the others."""
    with pytest.raises(ValueError, match="keys"):
        exclusive_scan([partial(0), {"other": np.zeros(1, np.int64)}])


@pytest.mark.parametrize("share", [0.0, 0.05, 0.9, 1.0])
def test_packing_loses_nothing(share: float) -> None:
    """What was packed comes back with every number, shape and dtype, sparse or dense."""
    part = partial(7, share)
    assert same(unpack(pack(part)), part)


@pytest.mark.parametrize("value", [INT64.min, -1, 0, 255, 256, 2**16, 2**32, INT64.max])
def test_every_width_is_exact(value: int) -> None:
    """Numbers at the borders of the narrow types survive, alone and in a sparse array."""
    for array in (np.array([value]), np.array([0, 0, 0, value, 0, 0, 0, 0]), np.array(value)):
        assert same(unpack(pack({"a": array})), {"a": array})


def test_the_same_numbers_have_the_same_bytes() -> None:
    """Packing depends on the numbers alone, not on key order or memory layout."""
    part = partial(3)
    turned = {key: part[key].copy(order="F") for key in reversed(part)}
    assert pack(turned) == pack(part)


def test_sparse_histograms_are_small() -> None:
    """Eight histograms of 65,536 bins, five per cent of them used, take under 100 kB instead of 4.2 MB."""
    rng = np.random.default_rng(0)
    bins = np.where(rng.random((8, 65536)) < 0.05, rng.integers(1, 100_000, (8, 65536)), 0)
    assert len(pack({"bins": bins})) < 100_000


@pytest.mark.parametrize("damage", [b"", b"MSP1", b"XXXX\x00\x00\x00\x00rest"])
def test_foreign_bytes_are_refused(damage: bytes) -> None:
    """Bytes that pack did not make are a ValueError."""
    with pytest.raises(ValueError):
        unpack(damage)


def test_a_flipped_or_missing_byte_is_noticed() -> None:
    """No truncation and no flipped byte gives different numbers silently."""
    data = pack(partial(1))
    for position in range(8, len(data), 997):
        changed = data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]
        with pytest.raises(ValueError):
            unpack(changed)
        with pytest.raises(ValueError):
            unpack(data[:position])
