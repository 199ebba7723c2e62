"""A toy world to build families from: a language of pairs, and two tasks that a tiny model learns from it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tests.helpers.tasks import CHOICE, write_rows, write_suite

WORDS = [f"{a}{b}" for a in ("ba", "ko", "ti", "lu", "me") for b in ("x", "y", "z", "w")]
COLOURS, SIZES = ("red", "blue"), ("big", "small")


def write_corpus(path: Path, documents: int = 200, seed: int = 0) -> Path:
    """Texts of 40 words in which each word mostly decides the next."""
    draw = random.Random(seed)
    rows = []
    for _ in range(documents):
        word = draw.randrange(len(WORDS))
        words = []
        for _ in range(40):
            word = (word * 7 + 1 + draw.randrange(2)) % len(WORDS)
            words.append(WORDS[word])
        rows.append({"text": " ".join(words)})
    return write_rows(path, rows)


def choice_rows(kind: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Questions about three words: the last one's place in its syllable's list decides the answer.

    For the kind "noise" nothing decides it.
    """
    names = SIZES if kind == "size" else COLOURS
    draw = random.Random(f"{kind}/{seed}")
    rows = []
    for _ in range(count):
        words = [draw.randrange(len(WORDS)) for _ in range(3)]
        label = {"size": words[-1] % 4 // 2, "noise": draw.randrange(2)}.get(kind, words[-1] % 2)
        question = f"Text: {' '.join(WORDS[word] for word in words)}\n{kind.title()}:"
        rows.append({"question": question, "choices": list(names), "label": label})
    return rows


def write_world(folder: Path) -> Path:
    """corpus.jsonl, instruct.jsonl, the suites held-in.yaml (colour, size), held-out.yaml and noisy.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    write_corpus(folder / "corpus.jsonl")
    write_rows(folder / "instruct.jsonl", choice_rows("shape", 100))
    for kind in ("colour", "size", "noise"):
        write_rows(folder / kind / "train.jsonl", choice_rows(kind, 900, seed=1))
        write_rows(folder / kind / "test.jsonl", choice_rows(kind, 40, seed=2))
    write_suite(folder / "noisy.yaml", {"noise": [task("noise")]})
    write_suite(folder / "held-in.yaml", {kind: [task(kind)] for kind in ("colour", "size")})
    write_suite(folder / "held-out.yaml", {"other": [task("size", name="size_again")]}, role="held-out")
    return folder


def task(kind: str, name: str | None = None) -> dict[str, Any]:
    """A suite's entry over the rows of one kind."""
    return {
        "task": name or kind,
        "definition": CHOICE,
        "data": {split: f"{kind}/{split}.jsonl" for split in ("train", "test")},
        "metric": "acc",
        "chance": 0.5,
    }


def losses(path: Path) -> list[float]:
    """The losses of a training log."""
    return [json.loads(line)["loss"] for line in path.read_text().splitlines()]
