"""Scores of generated text, item by item: answers (exact match, token F1) and texts (ROUGE).

Task definitions name these as `process_results: !function evals.generation.…`: a worker needs no file beside
the definition. Every score is one number an item, so that standard errors and paired tests work. It never
imports lm_eval and never reads data.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pipeline.errors import InputError

#: Columns that hold the right text or texts, as the data sets of configs/suites/tasks/ name them.
REFERENCE_COLUMNS = ("answers", "answer", "highlights", "summary", "human_reference", "target_text", "target")
ROUGE = ("rouge1", "rouge2", "rougeL")
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def score_answers(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """{"exact_match", "f1"} of the first result, each the best over the item's answers, in [0, 1]."""
    answers = references(doc)
    return {
        "exact_match": max(exact_match(results[0], answer) for answer in answers),
        "f1": max(token_f1(results[0], answer) for answer in answers),
    }


def score_text(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """{"rouge1", "rouge2", "rougeL"} of the first result, each the best over the item's texts, in [0, 1].

    F-measures of the package `rouge_score`, words stemmed, as reported for CNN/DailyMail and XSum.
    """
    found = [_rouge_scorer().score(text, results[0]) for text in references(doc)]
    return {name: max(float(scores[name].fmeasure) for scores in found) for name in ROUGE}


def references(doc: Mapping[str, Any]) -> list[str]:
    """The right texts of an item: a text, a list of texts, or SQuAD's {"text": [...]}. InputError: none."""
    column = next((name for name in REFERENCE_COLUMNS if doc.get(name)), None)
    value = doc[column] if column is not None else []
    if isinstance(value, Mapping):
        value = value.get("text", [])
    texts = [value] if isinstance(value, str) else [str(text) for text in value]
    if not texts:
        raise InputError(
            "an item has no reference text",
            expected=f"text in one of the columns {', '.join(REFERENCE_COLUMNS)}",
            found=f"columns {', '.join(doc)}",
        )
    return texts


def normalise_answer(text: str) -> str:
    """Lower case, without punctuation, English articles and extra white space (SQuAD's normalisation)."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", bare).split())


def exact_match(guess: str, answer: str) -> float:
    """1.0 if the two are equal after normalisation, else 0.0."""
    return float(normalise_answer(guess) == normalise_answer(answer))


def token_f1(guess: str, answer: str) -> float:
    """Harmonic mean of precision and recall of the words shared after normalisation, counted with repeats.

    Where either has no word left the score is that of exact match (Rajpurkar et al., arXiv 1606.05250).
    """
    guessed, right = normalise_answer(guess).split(), normalise_answer(answer).split()
    if not guessed or not right:
        return float(guessed == right)
    shared = (Counter(guessed) & Counter(right)).total()
    return 2.0 * shared / (len(guessed) + len(right))


@cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(ROUGE, use_stemmer=True)
