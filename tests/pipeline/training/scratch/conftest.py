"""Shared by the tests of bases from scratch: one folder with text, rows, a tokenizer and tokens."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config.place import Place
from pipeline.training.scratch.base import BaseSources
from pipeline.training.scratch.corpus import tokenise
from pipeline.training.scratch.settings import ScratchSettings, read_scratch
from pipeline.training.scratch.tokenizer import make_tokenizer
from tests.helpers.family import choice_rows, write_corpus
from tests.helpers.tasks import write_rows


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> BaseSources:
    """What a tiny base is made from; tests must not change it."""
    folder = tmp_path_factory.mktemp("scratch")
    corpus = write_corpus(folder / "corpus.jsonl")
    write_rows(folder / "rows.jsonl", choice_rows("colour", 120))
    make_tokenizer(corpus, 300, folder / "tokenizer")
    tokenise(corpus, folder / "tokenizer", folder / "tokens")
    return BaseSources(folder / "tokens", folder / "tokenizer", folder / "rows.jsonl")


def tiny(**changes: Any) -> ScratchSettings:
    """Settings of a base of 30 thousand parameters, both stages; `changes` replace top keys."""
    raw = {
        "architecture": {"hidden": 32, "mlp": 64, "layers": 2, "heads": 2, "kv_heads": 1, "context": 64},
        "tokens": 24 * 8 * 32,
        "sequence": 32,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "save_every": 5,
        "instruct": {"steps": 8, "batch_size": 8, "max_length": 32, "text_every": 4},
    }
    return read_scratch({**raw, **changes}, Place("test"))


def endless_loss(model: Any, batch: dict[str, Any]) -> Any:
    """In the place of `batch_loss`: infinite."""
    return model(batch["input_ids"]).logits.sum() * float("inf")
