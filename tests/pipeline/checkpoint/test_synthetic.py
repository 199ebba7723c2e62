"""Models that exist by name: the same bytes wherever they are read, and as fine-tuning leaves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.checkpoint.locate import read_index
from pipeline.checkpoint.synthetic import POOL, fill
from pipeline.errors import CheckpointError
from pipeline.values import ModelRef

SMALL = "synthetic:hidden=64,mlp=96,layers=2,kv=16,vocab=100"


def elements(path: str, start: int, count: int) -> NDArray[np.float32]:
    """Elements of a synthetic model as numbers."""
    raw = np.zeros(2 * count, np.uint8)
    fill(path, raw.data, 2 * start)
    wide: NDArray[np.float32] = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return wide


def test_parts_are_slices_of_the_whole() -> None:
    """Reading a range gives that range of the whole, across the end of the pool too."""
    whole = elements("synthetic:64b/expert2@5", 0, POOL + 1000)
    for start in (0, 1, 999, POOL - 7):
        assert np.array_equal(elements("synthetic:64b/expert2@5", start, 500), whole[start : start + 500])
    assert np.array_equal(whole[POOL:], whole[:1000])


def test_experts_lie_around_their_base() -> None:
    """A base is spread as weights are, its experts around it as fine-tuning leaves them, each its own way."""
    base, one, two = (elements(f"synthetic:8b/{name}", 0, 100_000) for name in ("base", "expert0", "expert1"))
    assert abs(float(base.std()) - 0.02) < 2e-4
    for expert in (one, two):
        assert abs(float((expert - base).std()) - 1e-3) < 5e-5
    assert abs(float(np.corrcoef(one - base, two - base)[0, 1])) < 0.02
    assert not np.array_equal(elements("synthetic:8b/base@1", 0, 1000), base[:1000])


def test_bytes_are_those_of_every_machine() -> None:
    """The first numbers, as they have been since Philox makes them."""
    found = elements("synthetic:64b/expert0", 0, 4)
    assert found.tolist() == [0.013427734375, -0.0006866455078125, -0.019287109375, 0.0037994384765625]


def test_the_index_is_that_of_a_real_model() -> None:
    """Names and shapes of a Llama; tensors lie one after the other and end where the file ends."""
    index = read_index(ModelRef(f"{SMALL}/expert1"))
    assert index.tensors["model.layers.1.mlp.down_proj.weight"].spec.shape == (64, 96)
    last = list(index.tensors.values())[-1]
    assert last.start_byte + last.spec.size_bytes == index.files[0].size_bytes
    assert index.config["num_hidden_layers"] == 2


def test_the_largest_has_64_billion_parameters() -> None:
    """The shape called 64b is what it says."""
    index = read_index(ModelRef("synthetic:64b/base"))
    assert 63.5e9 < sum(entry.spec.numel for entry in index.tensors.values()) < 65e9


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("synthetic:65b/base", "64b"),
        ("synthetic:64b", "synthetic:64b/expert0"),
        ("synthetic:64b/expert", "expertK"),
        ("synthetic:64b/expert9999999999", "expertK"),
        ("synthetic:hidden=4,mlp=0,layers=1,kv=1,vocab=1/base", "hidden, mlp, layers, kv, vocab"),
    ],
)
def test_other_names_are_refused(name: str, said: str, tmp_path: Path) -> None:
    """A name that is none says what it should be."""
    with pytest.raises(CheckpointError) as caught:
        read_index(ModelRef(name), beside=tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "synthetic:hidden=64,mlp=64,layers=3000000,kv=64,vocab=64/base",
        f"synthetic:hidden={'9' * 5000},mlp=64,layers=1,kv=64,vocab=64/base",
        f"synthetic:1b/base@{'9' * 5000}",
        "synthetic:1b/base@\u0663",
        "synthetic:hidden=0,mlp=64,layers=1,kv=64,vocab=64/base",
        f"synthetic:{'x' * 100_000}/base",
    ],
    ids=range(6),
)
def test_numbers_in_names_are_bounded(name: str) -> None:
    """Sizes and seeds of thousands of digits, and millions of layers, are refused at once in few words."""
    with pytest.raises(CheckpointError) as error:
        read_index(ModelRef(name))
    assert len(str(error.value)) < 2000
