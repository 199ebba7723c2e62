"""What a score is worth: guessers that read no question, as models that lm-eval can ask.

`majority` always gives the one answer that is right most often among the scored documents (the best of: one
text, or one place in the list). `copy` repeats the prompt: the choice most of whose words stand there, or the
prompt's first words. A task on which either does well measures something else than its name says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from evals.models import BASELINES
from pipeline.errors import InputError

MAJORITY, COPY = BASELINES
_NO = -1e4


def answerable(task: Any) -> bool:
    """Whether a guesser can answer: choices or text are asked for, no likelihoods of given texts."""
    return task.OUTPUT_TYPE in ("multiple_choice", "generate_until")


class Guesser:
    """One baseline for one lm-eval task, in the place of a model. Answers the scored documents' requests."""

    rank, world_size = 0, 1

    def __init__(self, kind: str, task: Any, docs: Sequence[Any]) -> None:
        self._kind, self._task = kind, task
        choices = task.OUTPUT_TYPE == "multiple_choice"
        self._place, self._text = (
            _constant_choice(task, docs) if choices else (None, _constant_text(task, docs))
        )
        self._words = 0 if choices else round(fmean(len(_target(task, doc).split()) for doc in docs))

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """0 for what is chosen, a very low number for the rest; `copy` gives its share of copied words."""
        if self._kind == COPY:
            return [(_copied(*request.args), False) for request in requests]
        chosen = [
            request.idx == self._place
            if self._place is not None
            else _answer(self._task, request) == self._text
            for request in requests
        ]
        return [(0.0, True) if one else (_NO, False) for one in chosen]

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The constant text, or as many of the prompt's first words as a target has on average."""
        if self._kind == MAJORITY:
            return [str(self._text)] * len(requests)
        return [" ".join(request.args[0].split()[: max(1, self._words)]) for request in requests]


def _constant_choice(task: Any, docs: Sequence[Any]) -> tuple[int | None, str | None]:
    """(place, None) or (None, text): the constant that is right most often. InputError: nothing ever is."""
    places: Counter[int] = Counter()
    texts: Counter[str] = Counter()
    for doc in docs:
        gold, choices = right_choice(task, doc), task.doc_to_choice(doc)
        if gold is not None:
            places[gold] += 1
            texts[str(choices[gold])] += 1
    if not places:
        raise InputError(
            "no document names a right answer",
            expected="one of the choices as the target",
            hint="score a split that has labels",
        )
    (place, by_place), (text, by_text) = places.most_common(1)[0], texts.most_common(1)[0]
    return (None, text) if by_text > by_place else (place, None)


def right_choice(task: Any, doc: Any) -> int | None:
    """The index of the (first) right choice; None where the document names none of its choices."""
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    gold = gold[0] if isinstance(gold, list) else gold
    choices = task.doc_to_choice(doc)
    if isinstance(gold, str):
        return choices.index(gold) if gold in choices else None
    return int(gold) if 0 <= int(gold) < len(choices) else None


def _constant_text(task: Any, docs: Sequence[Any]) -> str:
    """The target that most documents have."""
    return Counter(_target(task, doc) for doc in docs).most_common(1)[0][0]


def _target(task: Any, doc: Any) -> str:
    """The document's target as text, the first of several."""
    target = task.doc_to_target(doc)
    if task.config.doc_to_choice is not None:
        return str(task.doc_to_choice(doc)[target])
    return str(target[0] if isinstance(target, list) and target else target)


def _answer(task: Any, request: Any) -> str:
    """The choice that a request asks about."""
    choices = task.doc_to_choice(request.doc)
    return str(choices[request.idx % len(choices)])


def _copied(prompt: str, answer: str) -> float:
    """The share of the answer's words that stand in the prompt, as a log-likelihood of at most 0."""
    there = {word.strip(".,:;!?\"'()").lower() for word in prompt.split()}
    words = [word.strip(".,:;!?\"'()").lower() for word in answer.split()]
    return fmean([word in there for word in words] or [0.0]) - 1.0
