"""Reading WordNet, mails and speeches, and what the study's tasks ask of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evals.material import packages
from evals.material.diagnoses import many_diagnoses
from evals.material.items import Item
from evals.material.mails import mails, spam
from evals.material.meanings import antonym, gloss_class, hypernym, noun_topic, verb_topic, word_sense
from evals.material.speeches import speech_period
from evals.material.wordnet import ANTONYM, Pointer, synsets
from evals.material.words import language
from tests.helpers.archives import tarred, word
from tests.helpers.npm_archives import mail, synset_word, write_study_archives


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small archives of the same form as the real ones."""
    return write_study_archives(tmp_path_factory.mktemp("archives"))


def answers(items: list[Item]) -> dict[str, str]:
    """Question -> right answer."""
    return {item.question: item.answer for item in items}


def test_a_synset_is_read_as_written(tmp_path: Path) -> None:
    """Words, marks, topic, definition, examples and pointers of one line; the licence lines are skipped."""
    line = (
        "00004980 00 a 02 in_front(p) 1 ahead 0 002 ! 00000003 a 0201 & 00000003 r 0000 "
        '| being  at the front; or so; "he is ahead"; "in front of us"  \n'
    )
    other = "00000003 00 s 01 behind 0 001 ! 00004980 a 0102 | not ahead\n"
    files = {
        "adj": "  1 licence\n" + other + line,
        "noun": "",
        "verb": "",
        "adv": other.replace(" s ", " r "),
    }
    archive = tmp_path / "w.tgz"
    archive.write_bytes(tarred({f"package/dict/data.{part}": text.encode() for part, text in files.items()}))
    found = synsets({packages.WORDNET.name: archive})
    one = found["adjective", 4980]
    assert one.words == ("in front", "ahead")
    assert (one.topic, one.gloss) == (0, "being  at the front; or so")
    assert one.examples == ("he is ahead", "in front of us")
    assert one.pointers == (
        Pointer(ANTONYM, ("adjective", 3), 2, 1),
        Pointer("&", ("adverb", 3), 0, 0),
    )
    assert found["adjective", 3].pointers[0].target == ("adjective", 4980)


def test_definitions_are_asked_by_part_of_speech_and_topic(archives: dict[str, Path]) -> None:
    """A definition's answer is that of its data file, and of its lexicographer file."""
    classes = answers(gloss_class(archives))
    parts = {"a sort of": "noun", "to do some": "verb", "being like": "adjective", "in the way": "adverb"}
    for question, answer in classes.items():
        assert answer == next(part for start, part in parts.items() if f"Meaning: {start}" in question)
    nouns, verbs = answers(noun_topic(archives)), answers(verb_topic(archives))
    assert nouns[f"Meaning: a sort of {synset_word(6)}ness number6\nTopic:"] == "person"
    assert verbs[f"Meaning: to do some {synset_word(7)}ness number7\nTopic:"] == "motion"


def test_word_senses_are_those_of_the_examples(archives: dict[str, Path]) -> None:
    """Two sentences with one word mean the same exactly when one synset has both."""
    items = word_sense(archives)
    assert {item.answer for item in items} == {"same", "different"}
    by_word = {}
    for one in synsets(archives).values():
        for example in one.examples:
            by_word.setdefault((one.words[0], example), set()).add(one.key)
    for item in items:
        shown, first, second = item.texts
        assert first != second
        assert shown in first
        assert shown in second
        assert by_word[shown, first]


def test_relations_are_the_databases(archives: dict[str, Path]) -> None:
    """A hypernym is the word above, an opposite its antonym, and no other choice is right as well."""
    kinds, opposites = answers(hypernym(archives)), answers(antonym(archives))
    assert kinds[f"Word: {synset_word(23)}\nIs a kind of:"] == synset_word(2)
    for question, answer in opposites.items():
        shown = question.removeprefix("Word: ").removesuffix("\nOpposite:")
        pairs = [{synset_word(n), synset_word(n ^ 1)} for n in range(360)]
        assert {shown, answer} in pairs


def test_mails_are_read_as_plain_text(tmp_path: Path) -> None:
    """Tags, encodings and part headers go; encoded and nearly empty mails are left out; bodies are once."""
    plain = "Hello there, this is a mail of more than ten words, see below."
    page = "<style>p {x}</style><p>Buy our very cheap pills &amp; more=\n pills now, today only, here!</p>"
    texts = [
        ("easy-ham-1", mail("Re: [list] Lunch 7", plain)),
        ("easy-ham-2", mail("Fwd: again", plain)),
        ("spam-1", mail("=?iso?Q?x?=", page, **{"Content-Transfer-Encoding": "quoted-printable"})),
        ("spam-2", mail("file", "TWFueSBoYW5kcyBtYWtlIGxpZ2h0IHdvcms= " * 20)),
        ("spam-2", mail("short", "Click here.")),
        (
            "spam-2",
            mail("parts", f'--xyz\nContent-Type: text/plain;\n\tcharset="x"\n\n{plain} Bye.\n--xyz--'),
        ),
    ]
    rows = {
        f"package/data/{n}.json": json.dumps({"group": group, "text": text}).encode()
        for n, (group, text) in enumerate(texts)
    }
    archive = tmp_path / "mails.tgz"
    archive.write_bytes(tarred(rows | {"package/data/list.json": b"[]"}))
    read = mails({packages.MAILS.name: archive})
    assert [(one.junk, one.subject, one.body) for one in read] == [
        (False, "Re: [list] Lunch 7", plain),
        (True, "", "Buy our very cheap pills & more pills now, today only, here!"),
        (True, "parts", f"{plain} Bye."),
    ]


def test_mails_with_one_subject_share_a_key(archives: dict[str, Path]) -> None:
    """An answer to a mail has the mail's key; half of the mails are junk; none is shown beyond 60 words."""
    items = spam(archives)
    assert sum(item.label for item in items) * 2 == len(items)
    answered = {item.key for item in items if item.question.startswith("Mail: Re: ")}
    assert answered
    assert all("re" not in key.split() for key in answered)
    assert max(len(item.texts[0].split()) for item in items) <= 60


def test_passages_of_speeches_tell_no_number(archives: dict[str, Path]) -> None:
    """Passages are 25 to 60 words without a digit, asked for the period of the year, keyed by speech."""
    items = speech_period(archives)
    firsts = {"1820": 1790, "1870": 1850, "1920": 1900, "1980": 1950}
    for item in items:
        (text,) = item.texts
        assert 25 <= len(text.split()) <= 60
        assert not any(map(str.isdigit, text))
        year = int(Path(item.key).name[:4])
        assert item.answer == max(answer for answer, first in firsts.items() if first <= year)


def test_words_of_several_languages_are_not_asked(archives: dict[str, Path]) -> None:
    """Each word's answer is the one language that has it."""
    found = answers(language(archives))
    assert found[f"Word: {word(3)}it\nLanguage:"] == "Italian"
    assert not any("everywhere" in question for question in found)


def test_many_diagnoses_name_no_area(archives: dict[str, Path]) -> None:
    """The study's diagnoses are of their chapter's area, and no question shows an area it offers."""
    items = many_diagnoses(archives)
    assert answers(items)["Diagnosis: disease 9 5\nArea:"] == "heart"
    assert all(choice not in item.question for item in items for choice in item.choices)
