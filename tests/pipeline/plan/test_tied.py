"""Tied tensors: a flag says what loaders do without a file's own head, bytes say whether it has one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.checkpoint.index import CheckpointIndex
from pipeline.checkpoint.locate import read_index
from pipeline.errors import CheckpointError
from pipeline.plan.align import Alignment, align
from pipeline.plan.tied_defaults import TIED_BY_DEFAULT
from pipeline.values import ModelRef
from tests.helpers.merging import merge, plan, tensors
from tests.helpers.models import read_tensors, write_model, write_tensors

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TIED, UNTIED, SILENT = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}, {}
GEMMA: dict[str, Any] = {"model_type": "gemma2"}
NESTED = {"model_type": "x", "text_config": {"tie_word_embeddings": True}}


def model(
    path: Path, config: dict[str, Any] = TIED, *, seed: int = 0, head: Tensor | str | None = None
) -> Path:
    """A model without a head, with its embedding as the head ("copy"), or with a head of its own."""
    write_model(path, seed=seed, tied=True)
    stored = json.loads((path / "config.json").read_text())
    stored.pop("tie_word_embeddings")
    (path / "config.json").write_text(json.dumps(stored | config))
    held = read_tensors(path)
    if head is not None:
        held[HEAD] = held[EMBED].clone() if isinstance(head, str) else head
    write_tensors(path, held)
    return path


def own(seed: int) -> Tensor:
    """A head that is no embedding."""
    return torch.randn(32, 16, generator=torch.Generator().manual_seed(100 + seed))


def index(path: Path) -> CheckpointIndex:
    """Headers of a local model."""
    return read_index(ModelRef(str(path)))


def aligned(*paths: Path, random: bool = False, companion: int = 0) -> Alignment:
    """The models lined up; `companion` is the number of the one that gives the config."""
    indexes = [index(path) for path in paths]
    return align(indexes, indexes[companion], random=random)


def entries(found: Alignment) -> list[str]:
    """The names under which the models store the head; [] where it is left out."""
    return [entry.spec.name for row in found.rows if row.name == HEAD for entry in row.entries]


@pytest.mark.parametrize("config", [TIED, NESTED, GEMMA], ids=["flag", "nested", "default"])
def test_a_copy_is_left_out_where_loaders_tie_it(tmp_path: Path, config: dict[str, Any]) -> None:
    """A head with the embedding's bytes in every model that stores it is left out, and the read is noted."""
    paths = [model(tmp_path / "a", config, head="copy"), model(tmp_path / "b", config, seed=1)]
    for order in (paths, paths[::-1], [paths[0], paths[0]]):
        found = aligned(*order)
        assert entries(found) == [] and found.left_out == (HEAD,)
        assert HEAD in found.notes[0] and EMBED in found.notes[0] and "left out" in found.notes[0]
        assert "bytes were read" in found.notes[-1]


@pytest.mark.parametrize("config", [TIED, NESTED, GEMMA], ids=["flag", "nested", "default"])
def test_a_head_of_its_own_is_merged(tmp_path: Path, config: dict[str, Any]) -> None:
    """A head that differs in one bit, in one model, is a tensor like any other whatever the flag says."""
    copy = model(tmp_path / "a", config, head="copy")
    nearly = read_tensors(copy)[EMBED].clone()
    nearly.view(torch.int32)[-1, -1] ^= 1
    other = model(tmp_path / "b", config, head=nearly)
    found = aligned(copy, other)
    assert entries(found) == [HEAD, HEAD] and found.left_out == ()
    assert "merged like any tensor" in found.notes[0] and str(other) in found.notes[0]


def test_the_embedding_stands_in_for_a_head_that_is_tied(tmp_path: Path) -> None:
    """Where one model has a head of its own and another ties, the head merges with the other's embedding."""
    with_head, without = model(tmp_path / "a", UNTIED, head=own(0)), model(tmp_path / "b", TIED, seed=1)
    assert entries(aligned(with_head, without)) == [HEAD, EMBED]
    found = aligned(without, with_head)
    assert entries(found) == [EMBED, HEAD] and found.decisions()[1] == [[HEAD, HEAD, EMBED, HEAD]]
    config = tmp_path / "merge.json"
    models = [{"model": str(path), "parameters": {"weight": 1}} for path in (without, with_head)]
    config.write_text(json.dumps({"merge_method": "linear", "models": models}))
    merge(config, tmp_path / "out")
    expected = (read_tensors(without)[EMBED] + own(0)) / 2
    assert torch.allclose(tensors(tmp_path / "out")[HEAD], expected)


@pytest.mark.parametrize("second", ["copy", None])
def test_a_head_stays_where_an_ignored_base_does_not_tie(tmp_path: Path, second: str | None) -> None:
    """A base that gives its config alone says by it whether loaders tie, never by what it stores."""
    merged = [model(tmp_path / "a", TIED, head="copy"), model(tmp_path / "b", TIED, seed=1, head=second)]
    indexes = [index(path) for path in merged]
    for config, left_out in ((UNTIED, ()), (SILENT, ()), (TIED, (HEAD,))):
        base = index(model(tmp_path / "base", config))
        found = align(indexes, base)
        assert found.left_out == left_out and bool(entries(found)) == (left_out == ())


@pytest.mark.parametrize("config", [UNTIED, SILENT], ids=["untied", "silent"])
def test_a_head_that_nothing_ties_is_missed(tmp_path: Path, config: dict[str, Any]) -> None:
    """A model without a head whose config does not tie is incomplete: an error, as any missing tensor."""
    paths = [model(tmp_path / "a", UNTIED, head=own(0)), model(tmp_path / "b", config)]
    with pytest.raises(CheckpointError, match=f'misses tensor "{HEAD}"'):
        aligned(*paths)


def test_copies_that_nobody_ties_stay_equal_under_random_drops(tmp_path: Path) -> None:
    """Equal in every input is equal in the merge, also where entries are dropped at random."""
    config = {"model_type": "unheard_of"}
    paths = [model(tmp_path / name, config, seed=seed, head="copy") for seed, name in enumerate("abc")]
    found = aligned(*paths, random=True)
    assert entries(found) == [HEAD] * 3
    assert [row.draws_as for row in found.rows if row.name == HEAD] == [EMBED]
    written = {
        "merge_method": "dare_linear",
        "base_model": str(paths[0]),
        "models": [{"model": str(path), "parameters": {"weight": 0.7, "density": 0.5}} for path in paths[1:]],
    }
    (tmp_path / "merge.json").write_text(json.dumps(written))
    merge(tmp_path / "merge.json", tmp_path / "out")
    merged, base = tensors(tmp_path / "out"), tensors(paths[0])
    assert torch.equal(merged[HEAD], merged[EMBED]) and not torch.equal(merged[HEAD], base[HEAD])


def test_nothing_is_read_where_nothing_may_be_tied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Untied models whose method draws nothing are planned from headers alone."""

    def refuse(*_: object) -> bool:
        raise AssertionError("bytes were read")

    monkeypatch.setattr("pipeline.plan.tied.same_bytes", refuse)
    paths = [model(tmp_path / name, UNTIED, head=own(0)) for name in "ab"]
    assert entries(aligned(*paths)) == [HEAD, HEAD]
    assert aligned(*(model(tmp_path / name, TIED) for name in "cd")).left_out == ()


def t5(path: Path, names: tuple[str, ...], **config: bool) -> Path:
    """An encoder-decoder's shared embedding under these names."""
    write_model(path)
    table = torch.randn(8, 4, generator=torch.Generator().manual_seed(3))
    write_tensors(path, {"encoder.block.0.w": torch.ones(2), **{name: table.clone() for name in names}})
    (path / "config.json").write_text(json.dumps({"model_type": "t5", **config}))
    return path


@pytest.mark.parametrize("config", [{}, UNTIED], ids=["tied", "untied"])
def test_one_embedding_under_several_names(tmp_path: Path, config: dict[str, bool]) -> None:
    """Names of one embedding that some models store are copies of the one that all store, head tied or no."""
    inner = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    full = t5(tmp_path / "full", ("shared.weight", *inner), **config)
    short = t5(tmp_path / "short", ("shared.weight",), **config)
    found = aligned(short, full)
    assert {row.name for row in found.rows} == {"shared.weight", "encoder.block.0.w"}
    back = aligned(full, short)
    assert back.left_out == (() if config else tuple(sorted(inner)))
    assert {row.draws_as for row in back.rows} == {"shared.weight", "encoder.block.0.w"}


def test_an_embedding_may_be_the_copy(tmp_path: Path) -> None:
    """Where one model stores its one table as the head alone, the others' embedding is the copy."""
    table = {HEAD: torch.ones(8, 4), EMBED: torch.ones(8, 4)}
    for name, held in (("both", table), ("head", {HEAD: torch.ones(8, 4)})):
        write_model(tmp_path / name, tied=True)
        write_tensors(tmp_path / name, held)
    found = aligned(tmp_path / "both", tmp_path / "head")
    assert [row.name for row in found.rows] == [HEAD] and found.left_out == (EMBED,)


def test_what_was_compared_is_part_of_the_plan(tmp_path: Path) -> None:
    """The fingerprint changes where headers are the same and only the head's bytes are not."""
    fingerprints = set()
    for name, head in (("copy", "copy"), ("own", own(1))):
        other = model(tmp_path / name / "b", seed=1, head=head)
        config = tmp_path / "merge.json"
        model(tmp_path / "a", head="copy")
        lines = [{"model": str(path), "parameters": {"weight": 1}} for path in (tmp_path / "a", other)]
        config.write_text(json.dumps({"merge_method": "linear", "models": lines}))
        found = plan(config)
        fingerprints.add((found.fingerprint, HEAD in {tensor.spec.name for tensor in found.tensors}))
    assert {stored for _, stored in fingerprints} == {True, False} and len(fingerprints) == 2


def test_types_that_tie_by_default_are_the_librarys() -> None:
    """Every type in the table is one whose config class ties where the file is silent."""
    mapping = pytest.importorskip("transformers").CONFIG_MAPPING
    known = [kind for kind in sorted(TIED_BY_DEFAULT) if kind in mapping]
    assert len(known) > 100
    assert [kind for kind in known if not getattr(mapping[kind](), "tie_word_embeddings", False)] == []
