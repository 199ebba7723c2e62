"""Training data: JSONL rows to token batches. Prompt and answer are joined exactly as lm-eval joins them.

Legend: B rows of a batch, T tokens (padded on the left, so that answers end together at T).
It reads files and calls a tokenizer; it never sees a model or torch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.untrusted import parse_json, read_lines

#: Tokens: rows up to `_SHORT` are all alike, longer ones differ by bands of `_BAND`.
_SHORT, _BAND = 16, 8
_CHOICE = '{"question": text, "choices": [text, …], "label": index of the right choice}'
_EXPECTED = f'{_CHOICE} or {{"question": text, "answer": text}}'


@dataclass(frozen=True)
class Example:
    """A question with possible answers, of which `label` is the index of the right one.

    A `free` one was given with its answer alone: nothing to choose from. `where`: its file and line, for
    errors.
    """

    question: str
    choices: tuple[str, ...]
    label: int = 0
    free: bool = False
    where: str = field(default="", compare=False)

    @property
    def answer(self) -> str:
        """The right answer."""
        return self.choices[self.label]


@dataclass(frozen=True)
class Encoded:
    """One prompt with one answer as token ids. The model is to predict `answer` after `prompt`."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def inputs(self) -> tuple[int, ...]:
        """What the model reads: all but the last token."""
        return (self.prompt + self.answer)[:-1]


def read_examples(path: Path, limit: int | None = None) -> list[Example]:
    """The rows of a JSONL file, the first `limit` of them. InputError names the line of a bad row."""
    try:
        rows = ((number, line) for number, line in enumerate(read_lines(path), 1) if line.strip())
        examples = [_example(line, f"{path}, line {number}") for number, line in islice(rows, limit)]
    except FileNotFoundError as error:
        raise InputError("cannot read training data", where=str(path), found=str(error)) from error
    if not examples:
        raise InputError("the training data is empty", where=str(path), expected=_EXPECTED)
    return examples


def read_validation(path: Path) -> list[Example]:
    """The rows of a file to validate on: all with choices, or all with free answers. InputError as above.

    A file has one score: an accuracy or a likelihood.
    """
    examples = read_examples(path)
    odd = next((number for number, one in enumerate(examples) if one.free != examples[0].free), None)
    if odd is not None:
        raise InputError(
            "rows with choices and rows with free answers in one validation file",
            where=str(path),
            found=f"row {odd + 1}: {examples[odd].question[:60]}",
            hint="put them into two files and list both",
        )
    return examples


def _example(line: str, where: str) -> Example:
    """One row, checked."""
    try:
        row = parse_json(line)
    except ValueError as error:
        raise InputError("not JSON", where=where, expected=_EXPECTED, found=str(error)) from error
    found = row if isinstance(row, dict) else {}
    question, answer, choices, label = (found.get(key) for key in ("question", "answer", "choices", "label"))
    if isinstance(question, str) and isinstance(answer, str) and answer.strip() and choices is None:
        return Example(question, (answer,), free=True, where=where)
    if (
        not isinstance(question, str)
        or not isinstance(choices, list)
        or not all(isinstance(choice, str) and choice for choice in choices)
        or not isinstance(label, int)
        or isinstance(label, bool)
        or not 0 <= label < len(choices)
    ):
        raise InputError("not an example", where=where, expected=_EXPECTED, found=line[:80])
    return Example(question, tuple(choices), label, where=where)


def encode(tokenizer: Any, question: str, choice: str, max_length: int, where: str = "") -> Encoded:
    """Tokens of `question`, one space, `choice`, as lm-eval scores them; a long prompt loses its beginning.

    InputError, with `where`: no tokens, or an answer of more than `max_length`.
    """
    head, answer = encode_pair(tokenizer, question, f" {choice}")
    if not head or not answer:
        raise InputError(
            "a question or an answer without tokens",
            where=where,
            expected="words in both",
            found=f'"{question[-40:]} {choice[-40:]}"',
        )
    kept = max_length - len(answer)
    if kept < 1:
        raise InputError(
            "an answer is longer than a whole sequence may be",
            where=where,
            expected=f"fewer than {max_length} tokens",
            found=f"{len(answer)} tokens",
            hint="raise max_length",
        )
    return Encoded(tuple(head[-kept:]), tuple(answer))


def encode_pair(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Encode a prompt and its continuation by the rule that lm-eval scores decoders by.

    The tokenizer adds its own special tokens (a begin token, or BERT's two), unless a text begins with the
    begin token already. Spaces that end the prompt go to the continuation, whose tokens are those that the
    whole text has beyond the prompt's number. An empty prompt is the begin token, else the end token.
    """
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if not context:
        tokens = _tokens(tokenizer, continuation, special=False)
        if first is None:
            return [], tokens
        return ([first], tokens) if tokens[:1] != [first] else (tokens[:1], tokens[1:])
    begin = None if first is None else tokenizer.decode(first)
    prompt, whole = context.rstrip(), context + continuation
    head, both = (
        _tokens(tokenizer, text, special=begin is None or not text.startswith(begin))
        for text in (prompt, whole)
    )
    return head, both[len(head) :]


def adds_tokens(tokenizer: Any) -> bool:
    """Whether the tokenizer puts tokens of its own around a text."""
    return _tokens(tokenizer, "a", special=True) != _tokens(tokenizer, "a", special=False)


def _tokens(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    """The ids of a text; `special`: with what the tokenizer adds by default."""
    how = {} if special else {"add_special_tokens": False}
    ids: list[int] = tokenizer.encode(text, verbose=False, **how)
    return ids


def plan_batches(lengths: Sequence[int], size: int, epochs: int, seed: int) -> list[list[int]]:
    """Indices of the rows of every batch, in training order: rows of like length together, batches shuffled.

    Lengths count by bands: sorted to the token, batches of a task where one answer's rows are the longer ones
    would hold that answer only. The same arguments give the same batches. Each epoch holds every row once.
    """
    batches = []
    for epoch in range(epochs):
        draw = random.Random(f"{seed}/{epoch}")
        order = list(range(len(lengths)))
        draw.shuffle(order)
        order.sort(key=lambda row: max(lengths[row], _SHORT) // _BAND)
        cut = [order[start : start + size] for start in range(0, len(order), size)]
        draw.shuffle(cut)
        batches += cut
    return batches


def pad_left(rows_BT: Sequence[Sequence[int]], fill: int) -> tuple[list[list[int]], list[list[int]]]:
    """(ids, mask), each B x T: rows filled up on the left with `fill`, the mask 0 there and 1 elsewhere."""
    width = max(len(row) for row in rows_BT)
    ids = [[fill] * (width - len(row)) + list(row) for row in rows_BT]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows_BT]
    return ids, mask
