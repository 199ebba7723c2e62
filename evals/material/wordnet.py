"""Reading the WordNet 3.1 database files: synsets with their words, definition, examples and relations.

Format: wndb(5WN) of the WordNet reference manual, section "data.pos".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from evals.material import packages
from evals.material.archives import read_member
from evals.material.items import Archives

#: Data file -> the word for its part of speech.
PARTS = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}
_POS = {"n": "noun", "v": "verb", "a": "adjective", "s": "adjective", "r": "adverb"}
#: Pointer symbols.
ANTONYM, HYPERNYM, PART, MEMBER_OF = "!", "@", "%p", "#m"
_EXAMPLE = re.compile(r'"([^"]+)"')
_MARK = re.compile(r"\([a-z]+\)$")


@dataclass(frozen=True)
class Pointer:
    """A relation to the synset at `target`. `word`, `target_word`: from 1; 0 where it holds for all words."""

    symbol: str
    target: tuple[str, int]
    word: int
    target_word: int


@dataclass(frozen=True)
class Synset:
    """A meaning. `topic` is the number of its lexicographer file; `words` are as written, blanks for `_`."""

    part: str
    offset: int
    topic: int
    words: tuple[str, ...]
    gloss: str
    examples: tuple[str, ...]
    pointers: tuple[Pointer, ...]

    @property
    def key(self) -> tuple[str, int]:
        """Part of speech and offset, as pointers name it."""
        return self.part, self.offset


def synsets(archives: Archives) -> dict[tuple[str, int], Synset]:
    """(part of speech, offset) -> synset, in the order of the files. RunError: not such an archive."""
    return _read(archives[packages.WORDNET.name])


@lru_cache(maxsize=1)
def _read(archive: Path) -> dict[tuple[str, int], Synset]:
    """All four data files; kept, since several tasks are made from them one after the other."""
    return {
        synset.key: synset
        for file, part in PARTS.items()
        for synset in _synsets(part, read_member(archive, f"package/dict/data.{file}").decode())
    }


def _synsets(part: str, text: str) -> Iterator[Synset]:
    """The synsets of one data file; its first lines, which begin with a blank, are the licence."""
    for line in text.splitlines():
        if line.startswith(" "):
            continue
        data, _, note = line.partition(" | ")
        fields = data.split()
        last = 4 + 2 * int(fields[3], 16)
        words = tuple(_MARK.sub("", word).replace("_", " ") for word in fields[4:last:2])
        ends = range(last + 1, last + 1 + 4 * int(fields[last]), 4)
        pointers = tuple(_pointer(fields[at : at + 4]) for at in ends)
        gloss = note.partition('; "')[0].strip()
        examples = tuple(" ".join(example.split()) for example in _EXAMPLE.findall(note))
        yield Synset(part, int(fields[0]), int(fields[1]), words, gloss, examples, pointers)


def _pointer(fields: list[str]) -> Pointer:
    """Symbol, offset, part of speech, and two hexadecimal word numbers in one field."""
    symbol, offset, pos, ends = fields
    return Pointer(symbol, (_POS[pos], int(offset)), int(ends[:2], 16), int(ends[2:], 16))
