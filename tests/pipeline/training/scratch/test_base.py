"""One base from scratch: it learns, it is an ordinary checkpoint, and a kill changes nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from pipeline.errors import OutputError, RunError
from pipeline.training.expert import RECORD
from pipeline.training.scratch.base import LOG, BaseSources, make_base
from tests.helpers.crash import killed_at
from tests.pipeline.training.scratch.conftest import endless_loss, tiny


@pytest.fixture(scope="module")
def base(sources: BaseSources, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished base of both stages."""
    out = tmp_path_factory.mktemp("base") / "base"
    make_base(sources, out, tiny())
    return out


def content(out: Path) -> dict[str, bytes]:
    """Every file of a base but its record, which holds times."""
    return {file.name: file.read_bytes() for file in out.iterdir() if file.name != RECORD}


def test_it_learns_the_text(base: Path) -> None:
    """The loss falls far, and held-out text is less surprising than it is to mere frequencies."""
    record = json.loads((base / RECORD).read_text())
    text = record["losses"]["text"]
    assert text["steps"] == 24
    assert text["last"] < text["first"] - 1
    assert 1 < record["held_perplexity"] < 30  # 20 words of two or three tokens, each followed by two
    assert record["tokens_read"] == 24 * 8 * 32


def test_it_is_an_ordinary_checkpoint(base: Path, sources: BaseSources) -> None:
    """transformers loads model and tokenizer, float32 as asked for, of the size that the settings tell."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    assert model.dtype == torch.float32
    assert model.num_parameters() == tiny().architecture.parameters(len(tokenizer)) == 28_192
    assert (model.config.max_position_embeddings, model.config.use_cache) == (64, True)
    assert (base / "tokenizer.json").read_bytes() == (sources.tokenizer / "tokenizer.json").read_bytes()


def test_the_log_has_every_step_of_both_stages(base: Path) -> None:
    """One line a step with loss and rate; the rate rises over the warm-up and falls to zero in each stage."""
    rows = [json.loads(line) for line in (base / LOG).read_text().splitlines()]
    assert [(row["stage"], row["step"]) for row in rows] == [
        *(("text", step) for step in range(1, 25)),
        *(("instruct", step) for step in range(1, 9)),
    ]
    assert all(math.isfinite(row["loss"]) for row in rows)
    rates = [row["learning_rate"] for row in rows if row["stage"] == "text"]
    assert max(rates) == pytest.approx(1e-2) and rates[-1] < 1e-3


@pytest.mark.parametrize("call", [13, 29])
def test_a_killed_run_ends_in_the_same_bytes(
    base: Path, sources: BaseSources, tmp_path: Path, call: int
) -> None:
    """Killed in either stage and started again, a run gives the same files and leaves no work behind."""
    out = tmp_path / "base"
    point = "pipeline.training.scratch.base:_tell"
    assert killed_at(point, call, lambda: make_base(sources, out, tiny()))
    assert not out.exists()
    left = 32 - call
    assert not killed_at(point, left + 6, lambda: make_base(sources, out, tiny())), (
        "it started from the beginning"
    )
    assert content(out) == content(base)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".base.lock", "base"]


def test_a_finished_base_is_kept(base: Path, sources: BaseSources) -> None:
    """The same settings find it done; others are refused, and it stays as it is."""
    before = content(base)
    make_base(sources, base, tiny())
    with pytest.raises(OutputError, match="another"):
        make_base(sources, base, tiny(seed=1))
    assert content(base) == before


def test_a_run_that_diverges_is_named(
    sources: BaseSources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that is no number is a RunError with the step, and nothing is published."""
    monkeypatch.setattr("pipeline.training.scratch.stages.batch_loss", endless_loss)
    with pytest.raises(RunError, match="diverged") as error:
        make_base(sources, tmp_path / "base", tiny())
    assert error.value.where == "step 1 of 24"
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("name", ["text.safetensors", "text.log.json"])
@pytest.mark.parametrize("cut", [False, True], ids=["flipped", "cut"])
def test_a_damaged_stage_is_trained_again(
    base: Path, sources: BaseSources, tmp_path: Path, name: str, cut: bool
) -> None:
    """A flipped bit in what a killed run kept of its first stage, or a cut, changes no byte of the base."""
    out = tmp_path / "base"
    assert killed_at("pipeline.training.scratch.base:_tell", 26, lambda: make_base(sources, out, tiny()))
    kept = next(out.parent.glob(f".base.work/**/{name}"))
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data[: len(data) // 2] if cut else data)
    make_base(sources, out, tiny())
    assert content(out) == content(base)


def test_a_link_in_the_place_of_the_lock_is_not_followed(sources: BaseSources, tmp_path: Path) -> None:
    """What somebody put where the lock belongs is refused, and the file that it leads to keeps its bytes."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".base.lock").symlink_to(victim)
    with pytest.raises(RunError, match="replaced by something else"):
        make_base(sources, tmp_path / "base", tiny())
    assert victim.read_text() == "precious"
