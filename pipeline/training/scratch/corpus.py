"""Text to training sequences: tokens once on disk, windows of them in an order that the seed decides.

Legend: B sequences of a batch, T tokens of a sequence, N sequences in all. It reads arrays; it never sees a
model.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.checkpoint.files import digest_file
from pipeline.errors import InputError
from pipeline.training.scratch.once import make_once
from pipeline.training.scratch.tokenizer import read_texts

Tokens = NDArray[np.unsignedinteger[Any]]
#: Every so many documents one is held out, to measure perplexity.
_HELD_EVERY = 100
_AT_ONCE = 1000


def tokenise(corpus: Path, tokenizer: Path, out: Path) -> dict[str, Any]:
    """Write the corpus as tokens to `out`: train.npy and held.npy, an end token after each document.

    Kept while corpus and tokenizer are the same. Every hundredth document is held out.
    """
    identity = {
        "kind": "tokens",
        "corpus": {"path": str(corpus), "digest": digest_file(corpus)},
        "tokenizer": {"path": str(tokenizer), "digest": digest_file(tokenizer / "tokenizer.json")},
    }
    return make_once(out, identity, lambda folder: _write(corpus, tokenizer, folder))


def _write(corpus: Path, tokenizer: Path, folder: Path) -> dict[str, Any]:
    """Both arrays, in uint16 where the vocabulary allows."""
    from tokenizers import Tokenizer

    from pipeline.training.scratch.tokenizer import END

    coder = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    kind: type[np.unsignedinteger[Any]] = np.uint16 if coder.get_vocab_size() <= 1 << 16 else np.uint32
    parts: dict[str, list[Tokens]] = {"train": [], "held": []}
    end = coder.token_to_id(END)
    for number, ids in enumerate(_encoded(corpus, coder)):
        part = parts["held" if number % _HELD_EVERY == _HELD_EVERY - 1 else "train"]
        part.append(np.array([*ids, end], kind))
    for name, arrays in parts.items():
        np.save(folder / f"{name}.npy", np.concatenate(arrays) if arrays else np.zeros(0, kind))
    return {name: sum(map(len, arrays)) for name, arrays in parts.items()}


def _encoded(corpus: Path, coder: Any) -> Iterator[list[int]]:
    """Token ids of each document."""
    texts = read_texts(corpus)
    while part := list(islice(texts, _AT_ONCE)):
        for found in coder.encode_batch(part, add_special_tokens=False):
            yield found.ids


class Windows:
    """Batches of sequences out of one token array: item k is the k-th batch of the run, B x (T + 1).

    The array is cut into N windows that share their border token; each pass over them has its own order.
    """

    def __init__(self, tokens: Tokens, batch: int, length: int, steps: int, seed: int) -> None:
        self._tokens, self._batch, self._length = tokens, batch, length
        self._steps, self._seed = steps, seed
        self.count = (len(tokens) - 1) // length
        if self.count < 1:
            raise InputError(
                "the corpus is shorter than one sequence",
                expected=f"more than {length} tokens",
                found=f"{len(tokens)} tokens",
            )
        self._orders: dict[int, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> NDArray[np.int64]:
        if not 0 <= step < self._steps:
            raise IndexError(step)
        starts = [self._window(step * self._batch + row) * self._length for row in range(self._batch)]
        return np.stack([self._tokens[start : start + self._length + 1] for start in starts]).astype(np.int64)

    def _window(self, number: int) -> int:
        """Which window the number-th sequence of the run is."""
        epoch, position = divmod(number, self.count)
        if epoch not in self._orders:
            self._orders = {epoch: np.random.default_rng([self._seed, epoch]).permutation(self.count)}
        return int(self._orders[epoch][position])
