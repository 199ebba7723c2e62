"""The tokenizer: every text has tokens, prompts are prefixes, and it is made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError, OutputError
from pipeline.training.scratch.base import BaseSources
from pipeline.training.scratch.tokenizer import END, PAD, make_tokenizer, read_texts
from tests.helpers.family import write_corpus
from tests.helpers.tasks import write_rows


@pytest.fixture(scope="module")
def tokenizer(sources: BaseSources) -> Any:
    """As transformers loads it from its directory."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(sources.tokenizer)


@pytest.mark.parametrize("text", ["bax kow", "Text: é\n\tSentiment:", "日本 🙂 \x00", "  two  spaces ", ""])
def test_any_text_comes_back(tokenizer: Any, text: str) -> None:
    """Encoding and decoding gives back every text, seen in training or not."""
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_prompt_is_a_prefix_of_prompt_and_answer(tokenizer: Any) -> None:
    """The tokens of a prompt are the first tokens of the prompt with a space and its answer."""
    for prompt in ("Text: bax kow\nColour:", "Text: never seen.\nSentiment:", "1 + 1 ="):
        head = tokenizer(prompt)["input_ids"]
        assert tokenizer(f"{prompt} red")["input_ids"][: len(head)] == head


def test_special_tokens_are_apart(tokenizer: Any) -> None:
    """End and padding are two tokens of their own, and text never gets an end token by itself."""
    assert (tokenizer.eos_token, tokenizer.pad_token) == (END, PAD)
    assert tokenizer.eos_token_id != tokenizer.pad_token_id
    assert tokenizer.eos_token_id not in tokenizer("bax kow")["input_ids"]
    assert len(tokenizer) == 300


def test_it_is_made_once(tmp_path: Path) -> None:
    """The same corpus and size keep it, another size is refused, a new one has the same bytes."""
    corpus = write_corpus(tmp_path / "corpus.jsonl", documents=20)
    record = make_tokenizer(corpus, 270, tmp_path / "out")
    before = (tmp_path / "out" / "tokenizer.json").stat().st_mtime_ns
    assert make_tokenizer(corpus, 270, tmp_path / "out") == record
    assert (tmp_path / "out" / "tokenizer.json").stat().st_mtime_ns == before
    with pytest.raises(OutputError, match="another"):
        make_tokenizer(corpus, 280, tmp_path / "out")
    make_tokenizer(corpus, 270, tmp_path / "again")
    first, second = (tmp_path / name / "tokenizer.json" for name in ("out", "again"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("bad", ["{", '{"txt": "a"}', '{"text": 3}', "[]"])
def test_a_bad_row_of_the_corpus_is_named(tmp_path: Path, bad: str) -> None:
    """A row that is no document is an InputError with its line; so is a corpus without rows."""
    file = write_rows(tmp_path / "corpus.jsonl", [{"text": "good"}])
    file.write_text(file.read_text() + bad + "\n")
    with pytest.raises(InputError) as error:
        list(read_texts(file))
    assert error.value.where == f"{file}, line 2"
    file.write_text("\n")
    with pytest.raises(InputError, match="empty"):
        list(read_texts(file))


def test_a_vocabulary_without_room_for_bytes_is_refused(tmp_path: Path) -> None:
    """Fewer tokens than bytes and special tokens cannot write every text."""
    with pytest.raises(InputError, match="too small"):
        make_tokenizer(write_corpus(tmp_path / "corpus.jsonl", documents=1), 257, tmp_path / "out")
