"""Cutting: pieces tile a tensor exactly, respect the grain, and fill units without exceeding them."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from pipeline.plan.cut import MAX_UNIT_BYTES, MIN_UNIT_BYTES, bundle, cut_tensor, unit_bytes
from pipeline.plan.plan import Piece, Source, TensorPlan
from pipeline.values import DTYPES, TensorSpec


def tensor(numel: int, start_byte: int = 4096, inputs: int = 3) -> TensorPlan:
    """A bf16 tensor of `numel` elements read from `inputs` models."""
    source = Source("model", 0, DTYPES["BF16"])
    spec = TensorSpec("w", DTYPES["BF16"], (numel,))
    return TensorPlan(
        spec, "merge", (source,) * inputs, None, DTYPES["F32"], {}, "model.safetensors", start_byte
    )


@pytest.mark.parametrize("seed", range(30))
def test_pieces_tile_the_tensor(seed: int) -> None:
    """Pieces follow each other without hole or overlap, end at the end, and are multiples of the grain."""
    draw = random.Random(seed)
    grain = draw.choice([1, 7, 128])
    numel = grain * draw.randrange(1, 5000)
    target = draw.randrange(1, 40000)
    pieces = cut_tensor(tensor(numel, start_byte=8 * draw.randrange(1, 999)), 0, grain, target)
    assert pieces[0].start == 0 and pieces[-1].stop == numel
    assert all(left.stop == right.start for left, right in pairwise(pieces))
    assert all((piece.stop - piece.start) % grain == 0 and piece.numel > 0 for piece in pieces)
    assert all(piece.numel * 6 <= max(target, grain * 6) for piece in pieces)


def test_cuts_fall_on_whole_mebibytes_of_the_output_file() -> None:
    """A large tensor is cut where the output file's offset is a multiple of 1 MiB."""
    given = tensor(50_000_000, start_byte=12_344)
    pieces = cut_tensor(given, 0, 1, 32 << 20)
    assert len(pieces) > 5
    assert all((given.start_byte + piece.stop * 2) % (1 << 20) == 0 for piece in pieces[:-1])


def test_an_empty_tensor_is_one_empty_piece() -> None:
    """A tensor without elements still appears in the work, so that its receipt exists."""
    assert cut_tensor(tensor(0), 5, 1, 100) == [Piece(5, 0, 0, "stream")]


def test_bundles_keep_order_and_size() -> None:
    """Units hold consecutive pieces, all of them, and exceed the target only by a single larger piece."""
    tensors = [tensor(size) for size in (100, 5000, 20, 30, 40, 900)]
    pieces = [Piece(number, 0, each.spec.numel, "resident") for number, each in enumerate(tensors)]
    bundles = list(bundle(pieces, tensors, 6000))
    assert [piece for each in bundles for piece in each] == pieces
    for each in bundles:
        assert len(each) == 1 or sum(piece.numel * 6 for piece in each) <= 6000


def test_units_are_never_tiny_nor_huge() -> None:
    """A unit's target stays between its bounds and grows with the model between them."""
    assert unit_bytes(0) == MIN_UNIT_BYTES and unit_bytes(10**15) == MAX_UNIT_BYTES
    assert MIN_UNIT_BYTES < unit_bytes(10**12) < MAX_UNIT_BYTES
