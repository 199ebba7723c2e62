"""Tiny evaluation tasks for tests: rows made of the words of `models.write_tokenizer`, and suite files."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

#: Words that `write_model(..., vocab=64, tokenizer=True)` knows.
WORDS = [f"w{number}" for number in range(4, 64)]

#: An lm-eval multiple-choice definition over the columns of `choice_rows`, without its data.
CHOICE: dict[str, Any] = {
    "output_type": "multiple_choice",
    "test_split": "test",
    "training_split": "train",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "choices",
    "doc_to_target": "label",
    "metric_list": [
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True},
    ],
    "metadata": {"version": 1.0},
}
#: Answers free text: the first generated word against the first choice.
FREE: dict[str, Any] = {
    "output_type": "generate_until",
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{choices[0]}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 2, "do_sample": False},
    "filter_list": [
        {"name": "strip", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}
    ],
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}
#: How surprising the right answer is.
SURPRISE: dict[str, Any] = {
    "output_type": "loglikelihood",
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{' ' + choices[label]}}",
    "metric_list": [{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}],
}

#: How surprising a whole text is, word by word.
ROLLING: dict[str, Any] = {
    "output_type": "loglikelihood_rolling",
    "test_split": "test",
    "doc_to_text": "",
    "doc_to_target": "{{question}}",
    "metric_list": [{"metric": "word_perplexity", "aggregation": "weighted_perplexity"}],
}


def choice_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Questions of two to eight words with three choices, one of them two words long."""
    draw = random.Random(seed)

    def words(number: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(number))

    return [
        {
            "question": words(draw.randrange(2, 9)),
            "choices": [words(1), words(2), words(1)],
            "label": draw.randrange(3),
        }
        for _ in range(count)
    ]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows as JSON lines and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_suite(path: Path, categories: dict[str, list[dict[str, Any]]], **top: Any) -> Path:
    """Write a suite file; `top` replaces or adds keys beside `categories`. Returns the path."""
    content = {"name": path.stem, "role": "held-in", **top, "categories": categories}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# a suite for tests\n" + yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def choice_task(name: str = "pick", **keys: Any) -> dict[str, Any]:
    """A task entry over `data/test.jsonl` and `data/train.jsonl`; `keys` replaces or adds; None removes."""
    entry = {
        "task": name,
        "definition": CHOICE,
        "data": {"test": "data/test.jsonl", "train": "data/train.jsonl"},
        "metric": "acc",
        "chance": 0.333,
        **keys,
    }
    return {key: value for key, value in entry.items() if value is not None}
