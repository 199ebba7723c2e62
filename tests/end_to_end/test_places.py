"""Where a merge may go: never over what somebody else made, never into an input, never another input's
result.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from evals.app import main
from pipeline.errors import InputError, OutputError
from pipeline.output import absolute
from pipeline.work_directory import work_directory
from tests.helpers.crash import killed_at
from tests.helpers.merging import merge, plan, small_tiles, tensors, weight_bytes, write_config
from tests.helpers.models import write_family, write_model, write_tensors


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A TIES merge of two experts."""
    base, experts = write_family(tmp_path / "models", experts=2, dtype="bfloat16")
    return write_config(tmp_path / "merge.json", "ties", base, experts)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_foreign_work_directory_is_never_touched(config: Path, tmp_path: Path, fresh: bool) -> None:
    """Something that happens to be called OUT.mergescale is refused and keeps its files."""
    foreign = work_directory(tmp_path / "out")
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("dear")
    with pytest.raises(OutputError, match="did not make") as caught:
        merge(config, tmp_path / "out", fresh=fresh)
    assert caught.value.where == str(foreign)
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("fresh", [False, True])
def test_an_output_is_never_an_input(config: Path, tmp_path: Path, fresh: bool) -> None:
    """OUT may not be, hold or lie in a model that is read, not even with `fresh` or through a link."""
    merge(config, tmp_path / "first")
    base = tmp_path / "models" / "base"
    chain = write_config(tmp_path / "chain.json", "ties", base, [tmp_path / "first"])
    (tmp_path / "link").symlink_to(tmp_path / "first")
    before = weight_bytes(tmp_path / "first")
    for out in (
        tmp_path / "first",
        tmp_path / "first" / "inner",
        tmp_path,
        base / "x" / "y",
        tmp_path / "link",
    ):
        with pytest.raises(OutputError):
            merge(chain, out, fresh=fresh)
    assert weight_bytes(tmp_path / "first") == before
    assert not (base / "x").exists()


def test_other_models_of_the_same_name_are_another_merge(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same config text over other weights is neither taken for done nor used to continue an interrupted
    run.
    """
    text = config.read_text().replace(str(tmp_path) + "/", "")
    for seed, name in enumerate(("one", "two")):
        write_family(tmp_path / name / "models", experts=2, dtype="bfloat16", seed=seed)
        (tmp_path / name / "merge.json").write_text(text)
    shutil.rmtree(tmp_path / "models")
    out = tmp_path / "out"
    small_tiles(monkeypatch, unit_bytes=2000)
    assert killed_at("cluster.ledger:Ledger.append", 3, lambda: merge(tmp_path / "one" / "merge.json", out))
    with pytest.raises(OutputError, match="input"):
        merge(tmp_path / "two" / "merge.json", out)
    merge(tmp_path / "one" / "merge.json", out)
    with pytest.raises(OutputError, match="input"):
        merge(tmp_path / "two" / "merge.json", out)


def test_a_relative_output_is_absolute_for_the_workers(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers are told absolute places, so that they may have another working directory than the driver."""
    from pipeline import underway

    seen: list[str] = []
    original = underway.seal
    monkeypatch.setattr(underway, "seal", lambda payload: seen.append(payload["path"]) or original(payload))
    monkeypatch.chdir(tmp_path)
    merge(config, Path("out"))
    assert seen == [
        str(path)
        for path in [work_directory(tmp_path / "out") / Path(seen[0]).parent.name / Path(seen[0]).name]
    ]


@pytest.mark.parametrize("out", ["", ".", "/", "a-file/out", "dangling", "to-empty"])
def test_places_that_cannot_be_are_refused_first(
    config: Path, tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A nameless output, one below a file, and links are refused before anything is made."""
    monkeypatch.chdir(tmp_path)
    Path("a-file").write_text("")
    Path("dangling").symlink_to("nowhere")
    Path("empty").mkdir()
    Path("to-empty").symlink_to("empty")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError):
        merge(config, Path(out) if out else absolute(""))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments", [["status", "."], ["status", "/"], ["status", "a-file"], ["status", "broken"]]
)
def test_status_answers_for_any_path(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever path it is asked about, status answers or says in words why it cannot."""
    monkeypatch.chdir(tmp_path)
    Path("a-file").write_text("")
    Path("broken.mergescale").mkdir()
    Path("broken.mergescale/plan.json").write_text("{torn")
    monkeypatch.setattr(sys, "argv", ["mergescale", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    streams = capsys.readouterr()
    assert caught.value.code == 2 and streams.err.startswith("error: ") and "Traceback" not in streams.err


def test_a_tied_model_that_stores_only_its_head_keeps_it(tmp_path: Path) -> None:
    """A tied checkpoint whose one shared tensor is called lm_head does not lose its embedding."""
    base, experts = write_family(tmp_path / "models", experts=2, tied=True)
    for model in (base, *experts):
        held = tensors(model)
        held["lm_head.weight"] = held.pop("model.embed_tokens.weight")
        write_tensors(model, held)
    merge(write_config(tmp_path / "merge.json", "linear", base, experts), tmp_path / "out")
    assert "lm_head.weight" in tensors(tmp_path / "out")


def test_one_fp64_tensor_under_model_scope(tmp_path: Path) -> None:
    """Tensors trimmed together are computed in one type; a single fp64 tensor among fp32 makes it fp64."""
    models = [write_model(tmp_path / name, seed=seed) for seed, name in enumerate("abc")]
    for model in models:
        held = tensors(model)
        held["model.norm.weight"] = held["model.norm.weight"].double()
        write_tensors(model, held)
    config = write_config(tmp_path / "merge.json", "ties-model", models[0], models[1:])
    assert {tensor.compute.name for tensor in plan(config).tensors} == {"float64"}
    merge(config, tmp_path / "out")
    assert tensors(tmp_path / "out")["model.norm.weight"].dtype == torch.float64


def test_weights_that_cancel_are_found_by_planning(tmp_path: Path) -> None:
    """Normalised linear weights that add up to zero are refused before anything is made."""
    _, experts = write_family(tmp_path / "models", experts=2)
    models = [
        {"model": str(expert), "parameters": {"weight": w}}
        for expert, w in zip(experts, (1, -1), strict=True)
    ]
    (tmp_path / "merge.json").write_text(json.dumps({"merge_method": "linear", "models": models}))
    with pytest.raises(InputError, match="add up to zero"):
        merge(tmp_path / "merge.json", tmp_path / "out")
    assert not work_directory(tmp_path / "out").exists()
