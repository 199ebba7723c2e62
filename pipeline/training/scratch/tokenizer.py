"""The tokenizer of a family: byte-level BPE learned from the corpus. Any text has tokens; nothing is unknown.

Text is cut before words together with the space in front of them (GPT-2's rule), so that the tokens of a
prompt that ends in no space are the first tokens of the prompt with its answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.checkpoint.files import digest_file
from pipeline.errors import InputError
from pipeline.training.scratch.once import make_once
from pipeline.untrusted import parse_json, read_lines

END, PAD = "<|end|>", "<|pad|>"
#: Part of the identity; raised when the way of making it changes.
_RECIPE = 1
#: The 256 bytes and the two special tokens.
SMALLEST_VOCAB = 258


def read_texts(corpus: Path) -> Iterator[str]:
    """The texts of a JSONL file of {"text": ...} rows. InputError names the line of a bad row."""
    found = False
    try:
        for number, line in enumerate(read_lines(corpus), 1):
            if line.strip():
                found = True
                yield _text(line, f"{corpus}, line {number}")
    except FileNotFoundError as error:
        raise InputError("cannot read the corpus", where=str(corpus), found=str(error)) from error
    if not found:
        raise InputError("the corpus is empty", where=str(corpus), expected='{"text": ...} lines')


def _text(line: str, where: str) -> str:
    """The text of one row."""
    try:
        row = parse_json(line)
    except ValueError as error:
        raise InputError("not JSON", where=where, found=str(error)) from error
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise InputError("not a row of a corpus", where=where, expected='{"text": ...}', found=line[:80])
    return text


def make_tokenizer(corpus: Path, vocab: int, out: Path) -> dict[str, Any]:
    """Learn a tokenizer of `vocab` tokens at most and save it at `out`; return its record.

    One that was made from the same corpus with the same size is kept.
    """
    if vocab < SMALLEST_VOCAB:
        raise InputError(
            "the vocabulary is too small", expected=f"{SMALLEST_VOCAB} or more", found=str(vocab)
        )
    identity = {
        "kind": "tokenizer",
        "corpus": {"path": str(corpus), "digest": digest_file(corpus)},
        "vocab": vocab,
        "recipe": _RECIPE,
    }
    return make_once(out, identity, lambda folder: _learn(corpus, vocab, folder))


def _learn(corpus: Path, vocab: int, folder: Path) -> dict[str, Any]:
    """Learn the merges and save an ordinary Hugging Face tokenizer in `folder`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learned.train_from_iterator(read_texts(corpus), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=learned,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.save_pretrained(folder)
    return {"tokens": len(tokenizer)}
