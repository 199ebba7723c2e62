"""Several bases: planned, run on an executor, failures named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError, RunError
from pipeline.training.scratch.run import plan_bases, run_bases
from pipeline.training.scratch.stages import batch_loss
from tests.helpers.family import choice_rows, write_corpus
from tests.helpers.inline import InlineExecutor
from tests.helpers.tasks import write_rows
from tests.pipeline.training.scratch.conftest import endless_loss, tiny

SMALL = {"tokens": 3 * 8 * 32}


def test_bases_share_a_tokenizer_and_are_made_once(tmp_path: Path) -> None:
    """Every base has a record and the family's tokenizer; a second plan has nothing left to do."""
    corpus = write_corpus(tmp_path / "corpus.jsonl")
    rows = write_rows(tmp_path / "rows.jsonl", choice_rows("colour", 40))
    bases = {"plain": tiny(**SMALL, instruct=None), "both": tiny(**SMALL)}
    plan = plan_bases(bases, corpus, 300, tmp_path / "out", rows)
    assert plan.steps == {"plain": 3, "both": 11}
    on_gpu = plan_bases(bases, corpus, 300, tmp_path / "out", rows, "cuda")
    assert all(
        unit.resources.gpus == 1 and unit.payload["device"] == "cuda" for unit in on_gpu.units.values()
    )
    records = run_bases(plan, InlineExecutor(), show_progress=False)
    assert list(records) == ["plain", "both"]
    files = [tmp_path / "out" / name / "tokenizer.json" for name in ("plain", "both", "tokenizer")]
    assert len({file.read_bytes() for file in files}) == 1
    again = plan_bases(bases, corpus, 300, tmp_path / "out", rows)
    assert not again.units and again.records == records


def test_an_instruct_stage_needs_rows(tmp_path: Path) -> None:
    """A second stage without rows is refused before anything is made."""
    corpus = write_corpus(tmp_path / "corpus.jsonl")
    with pytest.raises(InputError, match="without rows"):
        plan_bases({"base": tiny()}, corpus, 300, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failure_is_raised_after_the_others_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base that diverges raises its own error; the other one is finished and kept."""
    corpus = write_corpus(tmp_path / "corpus.jsonl")
    bases = {"wild": tiny(**SMALL, instruct=None), "tame": tiny(**SMALL, instruct=None, seed=1)}
    plan = plan_bases(bases, corpus, 300, tmp_path / "out")
    seen: list[str] = []

    def sometimes(model: Any, batch: dict[str, Any]) -> Any:
        seen.append("step")
        return endless_loss(model, batch) if len(seen) == 1 else batch_loss(model, batch)

    monkeypatch.setattr("pipeline.training.scratch.stages.batch_loss", sometimes)
    with pytest.raises(RunError, match="diverged"):
        run_bases(plan, InlineExecutor(), show_progress=False)
    assert list(plan_bases(bases, corpus, 300, tmp_path / "out").records) == ["tame"]
