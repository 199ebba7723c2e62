"""Alignment: models that fit together line up, and what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.checkpoint.index import CheckpointIndex
from pipeline.checkpoint.locate import read_index
from pipeline.errors import CheckpointError
from pipeline.plan.align import align, promote
from pipeline.values import DTYPES, ModelRef
from tests.helpers.models import write_model


def index(path: Path) -> CheckpointIndex:
    """Headers of a local model."""
    return read_index(ModelRef(str(path)))


def test_equal_models_line_up(tmp_path: Path) -> None:
    """Every tensor of the first model appears once, with one entry a model in the given order."""
    models = [index(write_model(tmp_path / name, seed=seed)) for seed, name in enumerate("ab")]
    aligned, notes = align(models)
    assert [row.name for row in aligned] == list(models[0].tensors)
    assert all(
        [entry.file for entry in row.entries] == [m.tensors[row.name].file for m in models] for row in aligned
    )
    assert notes == ()


def test_a_missing_tensor_is_named_with_its_model(tmp_path: Path) -> None:
    """A model with fewer layers is refused, naming it and a tensor that it misses."""
    first, second = index(write_model(tmp_path / "a", layers=3)), index(write_model(tmp_path / "b", layers=2))
    with pytest.raises(CheckpointError, match=r"misses tensor .*layers\.2\.") as caught:
        align([first, second])
    assert caught.value.where == second.directory and "missing" in caught.value.found
    with pytest.raises(CheckpointError, match="has extra tensor"):
        align([second, first])


def test_another_vocabulary_is_a_shape_error_with_a_hint(tmp_path: Path) -> None:
    """Embeddings of different height name both shapes and speak of the tokenizer."""
    first, second = index(write_model(tmp_path / "a", vocab=32)), index(write_model(tmp_path / "b", vocab=40))
    with pytest.raises(CheckpointError, match="another shape") as caught:
        align([first, second])
    assert "[32, 16]" in caught.value.expected and caught.value.found == "[40, 16]"
    assert "tokenizer" in caught.value.hint


def test_floats_and_integers_do_not_mix(tmp_path: Path) -> None:
    """A tensor stored as integers in one model and as floats in another is refused."""
    first = index(write_model(tmp_path / "a", extra={"x": torch.ones(3)}))
    second = index(write_model(tmp_path / "b", extra={"x": torch.ones(3, dtype=torch.int8)}))
    with pytest.raises(CheckpointError, match="another kind of number") as caught:
        align([first, second])
    assert (caught.value.expected.split()[0], caught.value.found) == ("float32", "int8")


def test_tied_heads_and_recomputed_buffers_are_left_out(tmp_path: Path) -> None:
    """A stored copy of a tied head, and rotary buffers that one model stores, are dropped with a note."""
    head = {"lm_head.weight": torch.zeros(32, 16)}
    rotary = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}
    first = index(write_model(tmp_path / "a", tied=True, extra=head | rotary))
    second = index(write_model(tmp_path / "b", tied=True))
    aligned, notes = align([first, second])
    assert {row.name for row in aligned} == set(second.tensors)
    assert len(notes) == 2 and any("lm_head.weight" in note for note in notes)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [("BF16", "BF16"), ("BF16 BF16", "BF16"), ("BF16 F16", "F32"), ("F16 F32", "F32"), ("BF16 F64", "F64")],
)
def test_promotion_keeps_every_value(codes: str, expected: str) -> None:
    """Unlike types promote to the smallest type that holds both exactly."""
    assert promote([DTYPES[code] for code in codes.split()]) == DTYPES[expected]
