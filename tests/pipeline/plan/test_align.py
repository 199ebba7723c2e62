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
    found = align(models)
    assert [row.name for row in found.rows] == list(models[0].tensors)
    assert all(
        [entry.file for entry in row.entries] == [m.tensors[row.name].file for m in models]
        and row.draws_as == row.name
        for row in found.rows
    )
    assert (found.notes, found.left_out, found.decisions()) == ((), (), [[], []])


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


def test_many_tensors_that_are_left_out_are_one_note(tmp_path: Path) -> None:
    """Buffers of every layer do not fill the screen: the first few are named, the others counted."""
    masks = {f"model.layers.{i}.attn.bias": torch.ones(1, 1, 2, 2) for i in range(12)}
    (note,) = align(
        [index(write_model(tmp_path / "a", extra=masks)), index(write_model(tmp_path / "b"))]
    ).notes
    assert "model.layers.0.attn.bias" in note and "and 7 more" in note and len(note) < 300


def test_integers_of_two_types_are_refused(tmp_path: Path) -> None:
    """An integer tensor stored as int32 in one model and as int64 in another is refused by headers."""
    first = index(write_model(tmp_path / "a", extra={"x": torch.arange(3)}))
    second = index(write_model(tmp_path / "b", extra={"x": torch.arange(3).int()}))
    with pytest.raises(CheckpointError, match="another kind of number") as caught:
        align([first, second])
    assert (caught.value.expected.split()[0], caught.value.found) == ("int64", "int32")
    assert "quantised" not in caught.value.hint


def test_integers_that_differ_are_refused_when_planning(tmp_path: Path) -> None:
    """Integers that are no counters and differ in one bit are an error that names tensor, model and file."""
    first = index(write_model(tmp_path / "a", extra={"x": torch.arange(300_000)}))
    other = torch.arange(300_000)
    other[-1] += 1
    second = index(write_model(tmp_path / "b", extra={"x": other}))
    with pytest.raises(CheckpointError, match='"x" is not a float tensor and differs') as caught:
        align([first, second])
    assert str(second.ref) in caught.value.where
    third = index(write_model(tmp_path / "c", extra={"x": torch.arange(300_000)}))
    assert "x" in {row.name for row in align([first, third]).rows}


def test_counters_are_kept_as_the_base_has_them(tmp_path: Path) -> None:
    """An integer that training counts up is that of the model that gives the config, and a note says so."""
    name = "bn.num_batches_tracked"
    models = [
        index(write_model(tmp_path / letter, extra={name: torch.tensor(number), "step": torch.tensor(1)}))
        for number, letter in enumerate("abc")
    ]
    found = align(models, models[1])
    rows = {row.name: row for row in found.rows}
    assert rows[name].entries == (models[1].tensors[name],) * 3
    assert [note for note in found.notes if name in note] == [
        f'2 integers count steps of training, such as {name}: kept as in "{models[1].ref}"'
    ]
    assert align(models[:1]).notes == ()


def test_a_base_that_takes_no_part_gives_no_counter(tmp_path: Path) -> None:
    """Where the model that gives the config is none of those that are merged, the first of these keeps its
    integers: whatever the other one stores, or does not, its weights are not read.
    """
    name = "bn.num_batches_tracked"
    models = [
        index(write_model(tmp_path / letter, extra={name: torch.tensor(number)}))
        for number, letter in enumerate("ab")
    ]
    for companion in (
        write_model(tmp_path / "c"),
        write_model(tmp_path / "d", extra={name: torch.tensor(7)}),
    ):
        found = align(models, index(companion))
        rows = {row.name: row for row in found.rows}
        assert rows[name].entries == (models[0].tensors[name],) * 2
        assert any(f'kept as in "{models[0].ref}"' in note for note in found.notes)


def test_counters_of_two_types_are_no_error(tmp_path: Path) -> None:
    """Of a counter that one model stores as int32 the other's is kept all the same."""
    first = index(write_model(tmp_path / "a", extra={"bn.num_batches_tracked": torch.tensor(4)}))
    second = index(write_model(tmp_path / "b", extra={"bn.num_batches_tracked": torch.tensor(5).int()}))
    assert align([first, second]).rows and align([second, first]).rows


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("model.layers.0.self_attn.rotary_emb.inv_freq", torch.zeros(4)),
        ("bert.embeddings.position_ids", torch.arange(8)[None]),
        ("roberta.embeddings.token_type_ids", torch.zeros(1, 8, dtype=torch.int64)),
        ("gpt_neox.layers.0.attention.bias", torch.ones(1, 1, 4, 4, dtype=torch.bool)),
        ("transformer.h.0.attn.bias", torch.ones(1, 1, 4, 4)),
        ("gpt_neox.layers.0.attention.masked_bias", torch.tensor(-1e9)),
    ],
)
def test_recomputed_buffers_are_left_out(tmp_path: Path, name: str, tensor: torch.Tensor) -> None:
    """A buffer that loaders compute is left out with a note where not every model stores it alike."""
    plain = index(write_model(tmp_path / "plain"))
    with_it = index(write_model(tmp_path / "with", extra={name: tensor}))
    otherwise = index(write_model(tmp_path / "otherwise", extra={name: tensor.half()}))
    others = (plain, otherwise) if tensor.is_floating_point() else (plain,)
    for other in others:
        for models in ([plain, with_it], [with_it, other]):
            found = align(models)
            assert {row.name for row in found.rows} == set(plain.tensors)
            assert found.left_out == (name,) and [name in note for note in found.notes] == [True]
            assert found.decisions()[0] == [name]
    assert name in {row.name for row in align([with_it, with_it]).rows}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model.layers.0.self_attn.q_proj.bias", (16,)),
        ("model.layers.0.attention.bias", (2, 2)),
        ("model.position_ids", (4,)),
        ("model.masked_bias", (4,)),
    ],
)
def test_parameters_with_names_of_buffers_are_missed(
    tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    """What trains is never taken for a buffer: one model without it is an error."""
    with_it = index(write_model(tmp_path / "with", extra={name: torch.ones(shape)}))
    with pytest.raises(CheckpointError, match="misses tensor"):
        align([with_it, index(write_model(tmp_path / "plain"))])


def test_prediction_layers_that_one_model_stores_are_left_out(tmp_path: Path) -> None:
    """Layers below `mtp`, or beyond the config's count, are left out with a note where a model lacks them."""
    layer = "model.layers.2.mlp.up_proj.weight"
    extra = {"mtp.fc.weight": torch.ones(2, 2), layer: torch.ones(32, 16)}
    deep, plain = index(write_model(tmp_path / "deep", extra=extra)), index(write_model(tmp_path / "plain"))
    for models in ([deep, plain], [plain, deep]):
        found = align(models)
        assert found.left_out == (layer, "mtp.fc.weight")
        assert len(found.notes) == 1 and layer in found.notes[0] and "mtp.fc.weight" in found.notes[0]
    assert align([deep, deep]).left_out == ()


@pytest.mark.parametrize(
    ("codes", "expected"),
    [("BF16", "BF16"), ("BF16 BF16", "BF16"), ("BF16 F16", "F32"), ("F16 F32", "F32"), ("BF16 F64", "F64")],
)
def test_promotion_keeps_every_value(codes: str, expected: str) -> None:
    """Unlike types promote to the smallest type that holds both exactly."""
    assert promote([DTYPES[code] for code in codes.split()]) == DTYPES[expected]
