"""Models that nothing can be merged with: told from headers and config, before anything is compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pipeline.checkpoint.index import CheckpointIndex
from pipeline.checkpoint.locate import read_index
from pipeline.errors import CheckpointError
from pipeline.plan.align import align
from pipeline.values import ModelRef
from tests.helpers.models import read_tensors, write_model, write_tensors


def index(path: Path) -> CheckpointIndex:
    """Headers of a local model."""
    return read_index(ModelRef(str(path)))


@pytest.mark.parametrize(
    ("name", "tensor", "quantised"),
    [
        ("l.qweight", torch.ones(4, 8, dtype=torch.int32), True),
        ("l.qzeros", torch.ones(4, 8, dtype=torch.int32), True),
        ("l.weight.absmax", torch.ones(4), True),
        ("l.weight.quant_state.bitsandbytes__nf4", torch.ones(4, dtype=torch.uint8), True),
        ("l.SCB", torch.ones(4), True),
        ("l.weight", torch.ones(4, 8, dtype=torch.int8), True),
        ("l.weight_packed", torch.ones(4, 8, dtype=torch.int32), True),
        ("l.experts.gate_up_proj_blocks", torch.ones(2, 4, 8, dtype=torch.uint8), True),
        ("l.scales", torch.ones(4), False),
        ("l.weight", torch.ones(4, 8), False),
        ("l.index", torch.ones(4, 8, dtype=torch.int64), False),
        ("l.mask.weight", torch.ones(4, 8, dtype=torch.bool), False),
    ],
)
def test_quantised_weights_are_refused(
    tmp_path: Path, name: str, tensor: torch.Tensor, quantised: bool
) -> None:
    """Weights stored as integers, and what stands beside them, are refused with model and name."""
    models = [index(write_model(tmp_path / letter, extra={name: tensor})) for letter in "ab"]
    if not quantised:
        assert name in {row.name for row in align(models).rows}
        return
    with pytest.raises(CheckpointError, match="is quantised") as caught:
        align(models)
    assert str(models[0].ref) in caught.value.what and name in caught.value.where
    assert "dequantise" in caught.value.hint


@pytest.mark.parametrize(
    ("config", "how"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
        ({"text_config": {"quantization_config": {"quant_method": "awq"}}}, "awq"),
        ({"quantization_config": {"load_in_4bit": True}}, "4bit"),
    ],
)
def test_the_method_of_quantisation_is_named(tmp_path: Path, config: dict[str, Any], how: str) -> None:
    """config.json says how; weights that are floats in spite of it are merged, and a note says so."""
    # An odd name counts where the config says it, the indices of positions do not.
    packed = {"l.codes": torch.ones(2, 2, dtype=torch.int32)}
    plain = {"bert.embeddings.position_ids": torch.arange(4)[None]}
    for name, extra in (("a", packed), ("b", plain)):
        write_model(tmp_path / name, extra=extra)
        held = json.loads((tmp_path / name / "config.json").read_text())
        (tmp_path / name / "config.json").write_text(json.dumps(held | config))
    with pytest.raises(CheckpointError, match=how):
        align([index(tmp_path / "a")] * 2)
    notes = align([index(tmp_path / "b")] * 2).notes
    assert len(notes) == 1 and how in notes[0] and "floats" in notes[0]


@pytest.mark.parametrize("share", ["all", "some"])
@pytest.mark.parametrize("first", [True, False])
def test_empty_tensors_are_named(tmp_path: Path, share: str, first: bool) -> None:
    """A model saved by one process of a sharded run is called empty, whatever its place among the models."""
    whole = write_model(tmp_path / "whole")
    held = read_tensors(whole)
    gone = list(held) if share == "all" else ["model.embed_tokens.weight"]
    write_tensors(write_model(tmp_path / "share"), held | {name: torch.empty(0) for name in gone})
    models = [index(tmp_path / "share"), index(whole)]
    with pytest.raises(CheckpointError, match="empty tensors") as caught:
        align(models if first else models[::-1])
    assert str(tmp_path / "share") in caught.value.what and f"{len(gone)} of {len(held)}" in caught.value.what
    assert "vocabular" not in str(caught.value)


def test_a_tensor_that_is_empty_everywhere_is_merged(tmp_path: Path) -> None:
    """A tensor without elements is no mistake where every model has it so."""
    models = [index(write_model(tmp_path / name, extra={"none": torch.empty(0, 4)})) for name in "ab"]
    assert "none" in {row.name for row in align(models).rows}


@pytest.mark.parametrize(
    ("wrapper", "example"),
    [
        ("_orig_mod.", "_orig_mod.model.norm.weight"),
        ("module.", "module.model.norm.weight"),
        ("_fsdp_wrapped_module.", "model._fsdp_wrapped_module.norm.weight"),
        ("base_model.model.", "base_model.model.model.norm.weight"),
        ("policy.net.", "policy.net.model.norm.weight"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_wrappers_prefix_is_named(tmp_path: Path, wrapper: str, example: str, first: bool) -> None:
    """Names of one model that are the others' but for a wrapper's part: the error names it and the model."""
    plain = write_model(tmp_path / "plain")
    inside = example.startswith("model.")
    wrapped = {
        name.replace("model.", f"model.{wrapper}", 1) if inside else wrapper + name: tensor
        for name, tensor in read_tensors(plain).items()
    }
    assert example in wrapped
    write_tensors(write_model(tmp_path / "wrapped"), wrapped)
    models = [index(tmp_path / "wrapped"), index(plain)]
    with pytest.raises(CheckpointError) as caught:
        align(models if first else models[::-1])
    assert f'model "{tmp_path / "wrapped"}" carry "{wrapper}"' in caught.value.what
    assert "_mod" not in caught.value.expected and "names still differ" not in caught.value.found


def test_a_prefix_is_named_also_where_more_differs(tmp_path: Path) -> None:
    """A bare model beside one with a head: the error names the prefix, and how much differs without it."""
    full = write_model(tmp_path / "full")
    bare = {
        name.removeprefix("model."): tensor
        for name, tensor in read_tensors(full).items()
        if name != "lm_head.weight"
    }
    write_tensors(write_model(tmp_path / "bare"), bare)
    with pytest.raises(CheckpointError) as caught:
        align([index(full), index(tmp_path / "bare")])
    assert f'"{full}" carry "model."' in caught.value.what and "1 names still differ" in caught.value.found


def test_other_names_are_no_wrapper(tmp_path: Path) -> None:
    """Two models of different kinds are told by what is missing, also where a few names end alike."""
    for name, prefix in (("a", "encoder"), ("b", "decoder")):
        held = {f"{prefix}.block.{i}.w": torch.ones(2) for i in range(5)} | {"w": torch.ones(2)}
        (tmp_path / name).mkdir()
        save_file(held, tmp_path / name / "model.safetensors")
    with pytest.raises(CheckpointError, match="misses tensor"):
        align([index(tmp_path / "a"), index(tmp_path / "b")])
