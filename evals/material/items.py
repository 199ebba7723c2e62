"""Multiple-choice items and tasks, and the draws they are made with. Nothing here reads a file.

Choices and orders are drawn by hashing, so the same packages give the same items on any machine and Python.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from evals.material.packages import Package

T = TypeVar("T")
Archives = Mapping[str, Path]

_CHOICES = 4
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@dataclass(frozen=True)
class Item:
    """One question. `key` names what must not be in two splits; `label` is the index of the right choice.

    A question is lines of `Name: text` and a last line `Name:` that asks for the answer.
    """

    key: str
    question: str
    choices: tuple[str, ...]
    label: int

    @property
    def answer(self) -> str:
        """The right choice."""
        return self.choices[self.label]

    @property
    def texts(self) -> list[str]:
        """What the question shows: each line but the last, without its name."""
        return [line.partition(": ")[2] for line in self.question.splitlines()[:-1]]


@dataclass(frozen=True)
class MaterialTask:
    """A task made from packages. `build` gets package name -> archive; `chance` is the score of guessing."""

    name: str
    role: Literal["held-in", "held-out"]
    category: str
    chance: float
    sources: tuple[Package, ...]
    build: Callable[[Archives], list[Item]]


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return _WORD.findall(text.lower())


def ranked(values: Iterable[T], salt: str, name: Callable[[T], str] = str) -> list[T]:
    """The values in an order that only depends on their names and the salt."""
    return sorted(values, key=lambda value: hashlib.sha256(f"{salt}|{name(value)}".encode()).digest())


def draw(salt: str, size: int) -> int:
    """A number from 0 to size - 1 that only depends on the salt."""
    return int.from_bytes(hashlib.sha256(salt.encode()).digest()[:8], "big") % size


def balanced(items: Iterable[Item], salt: str, most: int | None = None) -> list[Item]:
    """As many items of every right answer, drawn by hash; at most `most` of each."""
    found: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        found[item.answer].append(item)
    size = min(len(group) for group in found.values())
    size = size if most is None else min(size, most)
    return [
        item
        for group in found.values()
        for item in ranked(group, salt, lambda one: f"{one.key}|{one.question}")[:size]
    ]


def capped(items: Iterable[Item], salt: str, most: int) -> list[Item]:
    """At most so many items of every right answer, drawn by hash; rarer answers keep all of theirs."""
    found: dict[str, list[Item]] = defaultdict(list)
    for item in ranked(items, salt, lambda one: f"{one.key}|{one.question}"):
        found[item.answer].append(item)
    return [item for group in found.values() for item in group[:most]]


def asked(key: str, question: str, right: str, all_answers: Sequence[str]) -> Item:
    """An item with the right answer among three others drawn by hash from a short list of answers."""
    wrong = ranked((answer for answer in all_answers if answer != right), f"wrong|{question}")
    choices = tuple(ranked([right, *wrong[: _CHOICES - 1]], f"order|{question}"))
    return Item(key, question, choices, choices.index(right))


def among(key: str, question: str, right: str, others: Sequence[str], not_these: Iterable[str] = ()) -> Item:
    """As `asked`, for a long list of answers; those `not_these` would be right as well."""
    banned = {right, *not_these}
    wrong: list[str] = []
    for number in range(100 * _CHOICES):
        other = others[draw(f"wrong|{question}|{number}", len(others))]
        if other not in banned:
            banned.add(other)
            wrong.append(other)
        if len(wrong) == _CHOICES - 1:
            break
    choices = tuple(ranked([right, *wrong], f"order|{question}"))
    return Item(key, question, choices, choices.index(right))


def unspoilt(items: Iterable[Item]) -> list[Item]:
    """The items whose question shows none of their choices; the others could be answered by copying."""
    return [item for item in items if not _shown(item)]


def _shown(item: Item) -> list[int]:
    """The places of the choices all of whose words the question's texts show."""
    seen = {word for text in item.texts for word in words_of(text)}
    return [place for place, choice in enumerate(item.choices) if seen.issuperset(words_of(choice))]


def majority(items: Sequence[Item]) -> float:
    """The best accuracy of a guesser that sees no question: always one word, or always one place."""
    words: dict[str, int] = defaultdict(int)
    places: dict[int, int] = defaultdict(int)
    for item in items:
        words[item.answer] += 1
        places[item.label] += 1
    return max(*words.values(), *places.values()) / len(items)


def copying(items: Sequence[Item]) -> float:
    """The expected accuracy of taking a choice that the question shows, of guessing where it shows none."""
    score = 0.0
    for item in items:
        shown = _shown(item) or range(len(item.choices))
        score += (item.label in shown) / len(shown)
    return score / len(items)


def dealt(items: Sequence[Item]) -> list[Item]:
    """The items with every place right equally often, unless all offer the same choices in one order."""
    if len({item.choices for item in items}) == 1:
        return list(items)
    return [_turned(item, number % len(item.choices)) for number, item in enumerate(items)]


def _turned(item: Item, place: int) -> Item:
    """The item with its choices turned round until the right one is at `place`."""
    shift = (item.label - place) % len(item.choices)
    return replace(item, choices=item.choices[shift:] + item.choices[:shift], label=place)
