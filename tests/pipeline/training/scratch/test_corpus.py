"""Packed text: what is held out, what a pass over the windows holds, and their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.training.scratch.base import BaseSources
from pipeline.training.scratch.corpus import Windows, tokenise


def test_every_document_is_there_with_its_end(sources: BaseSources) -> None:
    """Training and held-out tokens hold all documents, one in a hundred held out, each with an end token."""
    train, held = (np.load(sources.tokens / f"{name}.npy") for name in ("train", "held"))
    assert train.dtype == held.dtype == np.uint16
    assert ((train == 0).sum(), (held == 0).sum()) == (198, 2)
    assert train[-1] == held[-1] == 0


def test_tokens_are_kept(sources: BaseSources) -> None:
    """The same corpus and tokenizer leave the arrays as they are."""
    corpus = sources.tokens.parent / "corpus.jsonl"
    before = (sources.tokens / "train.npy").stat().st_mtime_ns
    tokenise(corpus, sources.tokenizer, sources.tokens)
    assert (sources.tokens / "train.npy").stat().st_mtime_ns == before


def test_a_pass_holds_every_window_once() -> None:
    """Each pass over the text has every window once, in an order of its own that the seed decides."""
    tokens = np.arange(41, dtype=np.uint16)
    windows = Windows(tokens, batch=2, length=10, steps=6, seed=3)
    assert windows.count == 4
    rows = np.concatenate([windows[step] for step in range(len(windows))])
    firsts = rows[:, 0].tolist()
    passes = [firsts[:4], firsts[4:8], firsts[8:]]
    assert all(sorted(one) == [0, 10, 20, 30] for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    assert all(row.tolist() == list(range(row[0], row[0] + 11)) for row in rows)
    again = Windows(tokens, batch=2, length=10, steps=6, seed=3)
    assert (again[4] == windows[4]).all()  # any step by itself, as a resumed run asks for it
    other = Windows(tokens, batch=2, length=10, steps=6, seed=4)
    assert [other[step][:, 0].tolist() for step in range(6)] != [
        windows[step][:, 0].tolist() for step in range(6)
    ]


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    """Text shorter than one sequence is an InputError, not an endless loop."""
    with pytest.raises(InputError, match="shorter than one sequence"):
        Windows(np.arange(10, dtype=np.uint16), batch=1, length=10, steps=1, seed=0)
