"""Tasks made from WordNet: what kind of thing a definition defines, and how words are related."""

from __future__ import annotations

from collections import defaultdict

from evals.material.items import Archives, Item, among, asked, balanced, draw, ranked, unspoilt, words_of
from evals.material.wordnet import ANTONYM, HYPERNYM, PARTS, Synset, synsets

_GLOSS_WORDS = range(3, 41)
_EXAMPLE_WORDS = range(4, 31)
_PER_TOPIC, _PER_PART = 330, 1150

#: Lexicographer file -> the word for it in answers. Files without a clear word or with few are left out.
_NOUN_TOPICS = {
    4: "action",
    5: "animal",
    6: "object",
    7: "quality",
    8: "body",
    9: "idea",
    10: "message",
    11: "event",
    13: "food",
    14: "group",
    15: "place",
    18: "person",
    20: "plant",
    26: "state",
    27: "substance",
    28: "time",
}
_VERB_TOPICS = {
    29: "body",
    30: "change",
    31: "thought",
    32: "speech",
    33: "contest",
    35: "touch",
    36: "making",
    38: "motion",
    39: "senses",
    40: "ownership",
    41: "society",
}


def _defined(archives: Archives) -> list[Synset]:
    """Synsets whose definition is neither very short nor long."""
    return [one for one in synsets(archives).values() if len(words_of(one.gloss)) in _GLOSS_WORDS]


def gloss_class(archives: Archives) -> list[Item]:
    """Definitions: of a noun, a verb, an adjective or an adverb."""
    names = tuple(PARTS.values())
    items = [
        Item(one.gloss.lower(), f"Meaning: {one.gloss}\nPart of speech:", names, names.index(one.part))
        for one in _defined(archives)
    ]
    return balanced(unspoilt(items), "gloss_class", _PER_PART)


def noun_topic(archives: Archives) -> list[Item]:
    """Definitions of nouns: which of sixteen kinds of thing."""
    return _topics(archives, "noun", _NOUN_TOPICS)


def verb_topic(archives: Archives) -> list[Item]:
    """Definitions of verbs: which of eleven kinds of doing."""
    return _topics(archives, "verb", _VERB_TOPICS)


def _topics(archives: Archives, part: str, topics: dict[int, str]) -> list[Item]:
    """Definitions of one part of speech, asked for the topic."""
    items = [
        asked(one.gloss.lower(), f"Meaning: {one.gloss}\nTopic:", topics[one.topic], tuple(topics.values()))
        for one in _defined(archives)
        if one.part == part and one.topic in topics
    ]
    return balanced(unspoilt(items), f"{part}_topic", _PER_TOPIC)


def word_sense(archives: Archives) -> list[Item]:
    """Two sentences with one word: in the same meaning or not. One pair a word."""
    used: dict[str, list[tuple[tuple[str, int], str]]] = defaultdict(list)
    for one in synsets(archives).values():
        for example in one.examples:
            said = words_of(example)
            if len(said) in _EXAMPLE_WORDS:
                for word in set(one.words) & set(said):
                    used[word].append((one.key, example))
    items = []
    for word in sorted(used):
        pairs: dict[bool, list[tuple[str, str]]] = {False: [], True: []}
        for number, (meaning, first) in enumerate(used[word]):
            for other, second in used[word][number + 1 :]:
                if first != second:
                    pairs[meaning == other].append((first, second))
        same = bool(draw(f"word_sense|{word}", 2)) if all(pairs.values()) else bool(pairs[True])
        if pairs[same]:
            first, second = ranked(pairs[same], word)[0]
            question = f"Word: {word}\nFirst: {first}\nSecond: {second}\nMeaning:"
            items.append(Item(word[:6], question, ("different", "same"), int(same)))
    return balanced(unspoilt(items), "word_sense")


def hypernym(archives: Archives) -> list[Item]:
    """Nouns: what they are a kind of. Names and words that resemble the answer are left out."""
    known = synsets(archives)
    pairs = []
    for one in known.values():
        parents = [known[link.target] for link in one.pointers if link.symbol == HYPERNYM]
        if one.part == "noun" and parents and _plain(one.words[0]) and _plain(parents[0].words[0]):
            right = {name for parent in parents for name in parent.words}
            if not any(_related(one.words[0], name) for name in right):
                pairs.append((one, parents[0].words[0], right))
    kinds = sorted({kind for _, kind, _ in pairs})
    items = []
    for one, kind, right in pairs:
        word = one.words[0]
        items.append(among(word[:6], f"Word: {word}\nIs a kind of:", kind, kinds, right | set(one.words)))
    return _once(items)


def antonym(archives: Archives) -> list[Item]:
    """Words with an opposite that is not the same word with a prefix or another ending."""
    known = synsets(archives)
    opposites: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in known.values():
        for link in one.pointers:
            if link.symbol == ANTONYM:
                word, other = one.words[link.word - 1], known[link.target].words[link.target_word - 1]
                if _plain(word) and _plain(other) and not _related(word, other):
                    opposites[one.part, word].add(other)
    pairs = [
        (part, word, min(others))
        for (part, word), others in sorted(opposites.items())
        if word < min(others)  # each pair once
    ]
    answers: dict[str, list[str]] = defaultdict(list)
    for part, _, other in pairs:
        answers[part].append(other)
    items = []
    for part, word, other in pairs:
        question = f"Word: {word}\nOpposite:"
        items.append(among(word[:6], question, other, answers[part], opposites[part, word] | {word}))
    return _once(items)


def _plain(word: str) -> bool:
    """Whether it is one lower-case word of letters."""
    return word.isalpha() and word.islower() and word.isascii() and len(word) >= 3


def _related(word: str, other: str) -> bool:
    """Whether one holds the other, or they share the first or last four letters."""
    return word in other or other in word or word[:4] == other[:4] or word[-4:] == other[-4:]


def _once(items: list[Item]) -> list[Item]:
    """One item a question."""
    return list({item.question: item for item in items}.values())
