"""Tensors are compared by type, shape and bytes, without holding them, wherever they lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.checkpoint import compare
from pipeline.checkpoint.compare import lies_here, same_bytes
from pipeline.checkpoint.index import CheckpointIndex
from pipeline.checkpoint.locate import read_index
from pipeline.errors import RunError
from pipeline.values import ModelRef
from tests.helpers.bucket import Bucket

LONG = torch.randn(70_000, generator=torch.Generator().manual_seed(0))


def held(path: Path, **tensors: torch.Tensor) -> CheckpointIndex:
    """The index of a model with these tensors."""
    path.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path / "model.safetensors")
    return read_index(ModelRef(str(path)))


def same(index: CheckpointIndex, name: str, other: str) -> bool:
    """Whether two tensors of one model are equal."""
    return same_bytes(index, index.tensors[name], index, index.tensors[other])


def test_bytes_are_compared_to_the_end(tmp_path: Path) -> None:
    """Tensors that differ in the last element, the sign of a zero, type or shape are not the same."""
    last = LONG.clone()
    last[-1] += 1
    index = held(
        tmp_path / "m",
        a=LONG,
        b=LONG.clone(),
        last=last,
        wide=LONG.double(),
        square=LONG.reshape(700, 100),
        plus=torch.zeros(2),
        minus=-torch.zeros(2),
        none=torch.empty(0),
        nothing=torch.empty(0),
        nan=torch.full((2,), torch.nan),
        nan2=torch.full((2,), torch.nan),
    )
    assert same(index, "a", "b") and same(index, "none", "nothing") and same(index, "nan", "nan2")
    for name, other in (("a", "last"), ("a", "wide"), ("a", "square"), ("plus", "minus")):
        assert not same(index, name, other), other


def test_an_answer_holds_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same question is not read for twice; files with other bytes are read again."""
    asked: list[int] = []
    read = compare.read_into
    monkeypatch.setattr(compare, "read_into", lambda *args: (asked.append(1), read(*args)))
    assert same(held(tmp_path / "m", a=LONG, b=LONG.clone()), "a", "b")
    first = len(asked)
    assert first and same(read_index(ModelRef(str(tmp_path / "m"))), "a", "b") and len(asked) == first
    changed = held(tmp_path / "m", a=LONG, b=LONG + 1)
    os.utime(tmp_path / "m" / "model.safetensors", ns=(1, 1))
    changed = read_index(changed.ref)
    assert not same(changed, "a", "b") and len(asked) > first


def test_a_file_that_ends_early_is_an_error(tmp_path: Path) -> None:
    """Bytes that are not there are equal to nothing."""
    index = held(tmp_path / "m", a=LONG, b=LONG.clone())
    os.truncate(tmp_path / "m" / "model.safetensors", 1000)
    with pytest.raises(RunError, match="file ended"):
        same(index, "a", "b")


def test_synthetic_tensors_are_told_by_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A synthetic model's tensors are equal to themselves alone, and none is made for that."""
    monkeypatch.setattr("pipeline.checkpoint.synthetic._made_pool", None)
    base, expert = (
        read_index(ModelRef(f"synthetic:hidden=64,mlp=64,layers=1,kv=64,vocab=64/{who}"))
        for who in ("base", "expert0")
    )
    assert same(base, "lm_head.weight", "lm_head.weight")
    assert not same(base, "lm_head.weight", "model.embed_tokens.weight")
    name = "lm_head.weight"
    assert not same_bytes(base, base.tensors[name], expert, expert.tensors[name])


def test_weights_in_a_bucket_are_compared_where_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model that is not here the ranges of the tensors are read, no file is fetched."""
    monkeypatch.setattr(compare, "_PIECE_BYTES", 100_000)
    held(tmp_path / "bucket" / "m", a=LONG, b=LONG.clone(), c=LONG + 1, rest=torch.zeros(500_000))
    with Bucket("models", tmp_path / "bucket") as server:
        for name, value in server.variables(tmp_path / "cache").items():
            monkeypatch.setenv(name, value)
        index = read_index(ModelRef("s3://models/m"))
        before = server.sent_bytes["model.safetensors"]
        assert same(index, "a", "b") and not same(index, "a", "c")
        sent = server.sent_bytes["model.safetensors"] - before
        assert sent < 3 * 280_000 and not lies_here(index)
