"""The layout of the output against safetensors' own writer."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from pipeline.checkpoint.header import parse_header
from pipeline.checkpoint.layout import index_json, lay_out, natural_key
from pipeline.values import DTYPES, DTYPES_BY_NAME, TensorSpec

NAMES = ["w", "b.1", "b.10", "b.2", "größe", "重み", "\u00e9", "e\u0301", "a b", 'quote"d', "back\\slash"]
NAMES += ["tab\there", "\x00\x1f\x7f", "😀", "", "/", "a/b", "__init__", "~", "Z", "model.layers.0.q"]


def spec(name: str, code: str = "F32", *shape: int) -> TensorSpec:
    return TensorSpec(name, DTYPES[code], shape)


def random_tensors(seed: int) -> dict[str, torch.Tensor]:
    """A few tensors of any type, name and shape, scalars and empty ones among them."""
    rng = random.Random(seed)
    names = rng.sample(NAMES, rng.randint(1, 10))
    names += [f"layers.{rng.randint(0, 20)}.w" for _ in range(rng.randint(0, 4))]
    tensors = {}
    for name in names:
        shape = [rng.choice([0, 1, 2, 3, 5]) for _ in range(rng.randint(0, 3))]
        raw = torch.randint(0, 2, [*shape], generator=torch.Generator().manual_seed(rng.randint(0, 2**31)))
        tensors[name] = raw.to(getattr(torch, rng.choice(sorted(DTYPES_BY_NAME))))
    return tensors


def specs_of(tensors: dict[str, torch.Tensor]) -> list[TensorSpec]:
    return [
        TensorSpec(name, DTYPES_BY_NAME[str(t.dtype).removeprefix("torch.")], tuple(t.shape))
        for name, t in tensors.items()
    ]


@pytest.mark.parametrize("block", range(10))
def test_header_is_what_safetensors_writes(block: int) -> None:
    """For any set of tensors the header and the size equal those of the file that safetensors writes."""
    for seed in range(block * 50, block * 50 + 50):
        tensors = random_tensors(seed)
        (shard,) = lay_out(specs_of(tensors), 1 << 40)
        written = save(tensors, metadata={"format": "pt"})
        assert written[: len(shard.header)] == shard.header, seed
        assert len(written) == shard.size_bytes, seed


def test_every_type_of_the_table_is_laid_out_in_the_format_s_order() -> None:
    """One tensor of each type in values.DTYPES lands where safetensors puts it."""
    tensors = {f"t{i}": torch.ones(3).to(getattr(torch, name)) for i, name in enumerate(DTYPES_BY_NAME)}
    (shard,) = lay_out(specs_of(tensors), 1 << 40)
    written = save(tensors, metadata={"format": "pt"})
    assert written[: len(shard.header)] == shard.header
    for name, tensor in tensors.items():
        size_bytes = tensor.numel() * tensor.element_size()
        begin = shard.offsets[name]
        assert written[begin : begin + size_bytes] == bytes(tensor.view(torch.uint8).numpy().tobytes()), name


def test_order_of_the_specs_does_not_matter() -> None:
    """The same tensors in another order give the same shards."""
    specs = specs_of(random_tensors(7))
    assert lay_out(specs, 64) == lay_out(specs[::-1], 64)


def test_shards_fill_greedily_in_natural_order_and_a_giant_sits_alone() -> None:
    """Names are taken as people count, a shard takes what fits, a tensor above the limit has its own."""
    specs = [spec(f"layers.{i}.w", "F32", 10) for i in (10, 2, 1)] + [spec("layers.3.giant", "F32", 100)]
    shards = lay_out(specs, 100)
    assert [sorted(shard.offsets) for shard in shards] == [
        ["layers.1.w", "layers.2.w"],
        ["layers.3.giant"],
        ["layers.10.w"],
    ]
    assert [shard.name for shard in shards] == [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]


def test_a_shard_may_be_exactly_full() -> None:
    """The limit counts tensor bytes and includes its own value."""
    specs = [spec(f"w{i}", "F32", 10) for i in range(4)]
    assert [len(shard.offsets) for shard in lay_out(specs, 80)] == [2, 2]
    assert [len(shard.offsets) for shard in lay_out(specs, 79)] == [1, 1, 1, 1]
    assert [len(shard.offsets) for shard in lay_out(specs, 1)] == [1, 1, 1, 1]


def test_one_shard_has_the_plain_name() -> None:
    """What fits one file is called model.safetensors."""
    (shard,) = lay_out([spec("w", "F32", 4)], 16)
    assert shard.name == "model.safetensors"


def test_our_reader_accepts_our_header() -> None:
    """parse_header gives back the specs and offsets that were laid out."""
    specs = specs_of(random_tensors(3))
    (shard,) = lay_out(specs, 1 << 40)
    header = parse_header(shard.header, file="x", size_bytes=shard.size_bytes)
    assert {name: found for name, (found, _) in header.tensors.items()} == {s.name: s for s in specs}
    assert {name: start for name, (_, start) in header.tensors.items()} == shard.offsets


def test_index_names_every_tensor_and_the_bytes_of_all(tmp_path: Path) -> None:
    """index_json maps each tensor to its file and its total is the size of the tensors."""
    tensors = {f"layers.{i}.w": torch.zeros(5, dtype=torch.bfloat16) for i in range(12)}
    shards = lay_out(specs_of(tensors), 30)
    index = json.loads(index_json(shards))
    assert index["metadata"]["total_size"] == 12 * 10
    assert list(index["weight_map"]) == [f"layers.{i}.w" for i in range(12)]
    for shard in shards:
        own = {name: tensors[name] for name, file in index["weight_map"].items() if file == shard.name}
        save_file(own, tmp_path / shard.name, metadata={"format": "pt"})
        assert (tmp_path / shard.name).stat().st_size == shard.size_bytes


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("a.2", "a.10"),
        ("a", "a.0"),
        ("a.01", "a.1"),
        ("a.1.b.3", "a.1.b.20"),
        ("1", "a"),
        ("a9", "a" + "9" * 5000),
    ],
)
def test_natural_order_counts_digits(earlier: str, later: str) -> None:
    """Runs of digits compare as numbers of any length; equal numbers fall back to the spelling."""
    assert natural_key(earlier) < natural_key(later)


def test_wrong_use_is_refused() -> None:
    """A shard size of zero and two tensors of one name are programming errors."""
    with pytest.raises(ValueError, match="positive"):
        lay_out([spec("w")], 0)
    with pytest.raises(ValueError, match="same name"):
        lay_out([spec("w"), spec("w")], 10)
