"""Scores of generated text against slow references written from their definitions."""

from __future__ import annotations

import random
import re
from itertools import combinations

import pytest

from evals.generation import exact_match, normalise_answer, references, score_answers, score_text, token_f1
from pipeline.errors import InputError

WORDS = ["a", "the", "An", "cat", "cats", "Running", "ran", "1901", "U.S.", "it's", "to-day", "--", "über"]


def texts(count: int, seed: int) -> list[tuple[str, str]]:
    """Pairs of short texts that share many words."""
    draw = random.Random(seed)
    return [
        (
            " ".join(draw.choices(WORDS, k=draw.randrange(7))),
            "  ".join(draw.choices(WORDS, k=draw.randrange(7))),
        )
        for _ in range(count)
    ]


def slow_words(text: str) -> list[str]:
    """Words after SQuAD's normalisation, character by character."""
    marks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    bare = "".join(char.lower() for char in text if char not in marks)
    return [word for word in bare.split() if word not in ("a", "an", "the")]


def slow_f1(guess: str, answer: str) -> float:
    """Words crossed off one by one, then the harmonic mean of precision and recall."""
    mine, left, hits = slow_words(guess), slow_words(answer), 0
    if not mine or not left:
        return float(mine == left)
    total = len(left)
    for word in mine:
        if word in left:
            left.remove(word)
            hits += 1
    if not hits:
        return 0.0
    precision, recall = hits / len(mine), hits / total
    return 2 * precision * recall / (precision + recall)


def slow_rouge(guess: str, text: str, kind: str) -> float:
    """F-measure of shared n-grams, or of the longest common subsequence found by trying all of them."""
    from nltk.stem.porter import PorterStemmer

    def tokens(line: str) -> list[str]:
        words = re.findall("[a-z0-9]+", line.lower())
        return [PorterStemmer().stem(word) if len(word) > 3 else word for word in words]

    mine, right = tokens(guess), tokens(text)
    if kind == "rougeL":
        tries = (combinations(mine, size) for size in range(len(mine), 0, -1))
        shared = next((len(one) for group in tries for one in group if is_subsequence(one, right)), 0)
        sizes = len(mine), len(right)
    else:
        length = int(kind[-1])
        grams = [
            [tuple(line[i : i + length]) for i in range(len(line) - length + 1)] for line in (mine, right)
        ]
        shared = sum(min(grams[0].count(one), grams[1].count(one)) for one in set(grams[0]))
        sizes = len(grams[0]), len(grams[1])
    return 2 * shared / sum(sizes) if shared else 0.0


def is_subsequence(part: tuple[str, ...], whole: list[str]) -> bool:
    """Whether `part` stands in `whole` in order, gaps allowed."""
    left = iter(whole)
    return all(word in left for word in part)


def test_answers_are_compared_as_squad_compares_them() -> None:
    """Case, punctuation, English articles and white space do not count; everything else does."""
    assert normalise_answer("  The  U.S., an   Example!\n") == "us example"
    assert normalise_answer("Theory of a band") == "theory of band"
    assert exact_match("the Oak.", "Oak") == 1.0 and exact_match("Oaks", "Oak") == 0.0
    for guess, answer in texts(300, seed=1):
        assert exact_match(guess, answer) == float(slow_words(guess) == slow_words(answer))


def test_token_f1_is_that_of_words_crossed_off_one_by_one() -> None:
    """Token F1 equals the slow count, repeated words, empty texts and order included."""
    assert token_f1("cat cat dog", "cat bird") == pytest.approx(0.4)
    for guess, answer in [("", ""), ("the", ""), ("cat", ""), *texts(500, seed=2)]:
        assert token_f1(guess, answer) == pytest.approx(slow_f1(guess, answer), abs=1e-12)


def test_the_best_of_several_answers_counts() -> None:
    """Each score is the best over the answers of the item, by itself."""
    doc = {"question": "?", "answers": {"text": ["New York City", "Big Apple"], "answer_start": [1, 2]}}
    assert score_answers(doc, [" new york"]) == {"exact_match": 0.0, "f1": pytest.approx(0.8)}
    assert score_answers(doc, ["the big apple"]) == {"exact_match": 1.0, "f1": 1.0}


def test_rouge_is_that_of_its_definition() -> None:
    """ROUGE-1, -2 and -L equal counts written from their definitions on random texts, and bound 0 and 1."""
    for guess, text in texts(120, seed=3):
        if text.strip():
            found = score_text({"summary": text}, [guess])
            expected = {kind: slow_rouge(guess, text, kind) for kind in ("rouge1", "rouge2", "rougeL")}
            assert found == pytest.approx(expected, abs=1e-12), (guess, text)
    assert score_text({"summary": "It rained."}, [" it rained"])["rougeL"] == 1.0


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        ({"answers": {"text": ["x", "y"]}}, ["x", "y"]),
        ({"answers": ["x", "y"]}, ["x", "y"]),
        ({"answer": "x", "question": "q"}, ["x"]),
        ({"document": "d", "summary": "x"}, ["x"]),
        ({"article": "d", "highlights": "x"}, ["x"]),
        ({"concepts": ["c"], "target": "x"}, ["x"]),
    ],
)
def test_references_are_found_in_their_columns(doc: dict[str, object], expected: list[str]) -> None:
    """A text, a list of texts and SQuAD's nested texts are read from the columns of the data sets."""
    assert references(doc) == expected


@pytest.mark.parametrize("doc", [{}, {"answers": {"text": []}}, {"answers": []}, {"summary": ""}])
def test_an_item_without_reference_is_refused(doc: dict[str, object]) -> None:
    """An item without any right text cannot be scored: an InputError that names its columns."""
    with pytest.raises(InputError) as caught:
        references(doc)
    assert caught.value.found == f"columns {', '.join(doc)}"
