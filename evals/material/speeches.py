"""The yearly addresses of American presidents (State of the Union, 1790 to 2021): from which time."""

from __future__ import annotations

import json
import re

from evals.material import packages
from evals.material.archives import members_ending
from evals.material.items import Archives, Item, balanced, ranked

#: First year of a period -> the year that stands for it in answers.
_PERIODS = {1790: "1820", 1850: "1870", 1900: "1920", 1950: "1980"}
_PASSAGE_WORDS, _LEAST_WORDS = 60, 25
_PER_SPEECH = 30
_END = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")


def speeches(archives: Archives) -> list[tuple[str, int, str]]:
    """(name of the file, year, text) of every address, in order."""
    found = []
    for name, file in members_ending(archives[packages.SPEECHES.name], ".json").items():
        row = json.loads(file)
        if isinstance(row, dict) and {"year", "text"} <= row.keys():
            found.append((name, int(row["year"]), str(row["text"])))
    return found


def speech_period(archives: Archives) -> list[Item]:
    """Passages without a number: from which of four times. The passages of an address share a key."""
    answers = tuple(_PERIODS.values())
    items = []
    for name, year, text in speeches(archives):
        label = sum(year >= first for first in _PERIODS) - 1
        passages = [one for one in _passages(text) if not any(map(str.isdigit, one))]
        for passage in ranked(passages, name)[:_PER_SPEECH]:
            items.append(Item(name, f"Speech: {passage}\nGiven about:", answers, label))
    return balanced(items, "speech_period")


def _passages(text: str) -> list[str]:
    """Runs of whole sentences of 25 to 60 words."""
    found: list[str] = []
    run: list[str] = []
    for sentence in _END.split(" ".join(text.split())):
        words = sentence.split()
        if len(run) + len(words) > _PASSAGE_WORDS:
            run = []
        run = [*run, *words] if len(words) <= _PASSAGE_WORDS else []
        if len(run) >= _LEAST_WORDS:
            found.append(" ".join(run))
            run = []
    return found
