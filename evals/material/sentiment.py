"""Sentences rated by twenty readers each, positive or negative (Hutto & Gilbert, ICWSM 2014)."""

from __future__ import annotations

import html

from evals.material import packages
from evals.material.archives import read_member
from evals.material.items import Archives, Item, balanced

#: A sentence is used if readers agreed that it leans one way (mean rating from -4 to 4) and it is short.
_CLEAR_VALENCE = 0.8
_SENTENCE_CHARS = (20, 120)
_INSIDE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
SENTIMENT_FILES = ("movieReviewSnippets", "amazonReviewSnippets", "tweets")


def sentences(archives: Archives, file: str) -> list[tuple[float, str]]:
    """(mean rating, sentence) of one of `SENTIMENT_FILES`, in its order, entities turned into characters."""
    member = f"{_INSIDE}!hutto_ICWSM_2014/{file}_GroundTruth.txt"
    text = read_member(archives[packages.VADER.name], member).decode("utf-8", errors="replace")
    rows = (line.split("\t", 2) for line in text.splitlines())
    return [(float(valence), " ".join(html.unescape(sentence).split())) for _, valence, sentence in rows]


def _opinions(archives: Archives, file: str) -> list[Item]:
    """The clear sentences of one file, half of them positive."""
    items = []
    low, high = _SENTENCE_CHARS
    for valence, sentence in sentences(archives, file):
        if abs(valence) < _CLEAR_VALENCE or not low <= len(sentence) <= high or "\ufffd" in sentence:
            continue
        question = f"Text: {sentence}\nSentiment:"
        items.append(Item(sentence.lower(), question, ("negative", "positive"), int(valence > 0)))
    return balanced(items, file)


def movie_reviews(archives: Archives) -> list[Item]:
    """Sentences of film reviews: positive or negative."""
    return _opinions(archives, "movieReviewSnippets")


def product_reviews(archives: Archives) -> list[Item]:
    """Sentences of shop customers' reviews: positive or negative."""
    return _opinions(archives, "amazonReviewSnippets")


def tweets(archives: Archives) -> list[Item]:
    """Short messages of a social network: positive or negative."""
    return _opinions(archives, "tweets")
