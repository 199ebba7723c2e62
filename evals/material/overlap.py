"""Finding text that repeats what is to be answered: shared passages of words, whatever the punctuation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from evals.material.items import words_of

#: A run of so many words in common is a passage. Shorter texts count whole, unless they are shorter still:
#: one or two words occur everywhere.
PASSAGE_WORDS, LEAST_WORDS = 13, 3


class Passages:
    """An index of texts. `shared` tells whether another text holds one of them or 13 words running of one."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._after: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
        for text in texts:
            words = words_of(text)
            size = min(len(words), PASSAGE_WORDS)
            for start in range(len(words) - size + 1 if size >= LEAST_WORDS else 0):
                passage = tuple(words[start : start + size])
                self._after[passage[:LEAST_WORDS]].add(passage[LEAST_WORDS:])

    def shared(self, text: str) -> bool:
        """Whether `text` repeats a passage of the index."""
        words = words_of(text)
        for start in range(len(words) - LEAST_WORDS + 1):
            tails = self._after.get(tuple(words[start : start + LEAST_WORDS]), ())
            begin = start + LEAST_WORDS
            if any(tuple(words[begin : begin + len(tail)]) == tail for tail in tails):
                return True
        return False
