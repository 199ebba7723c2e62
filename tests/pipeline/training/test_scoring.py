"""Scores of held-out rows: what lm-eval would find, and what several files make together."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from pipeline.errors import InputError, RunError
from pipeline.machine import cpu_precision
from pipeline.training.examples import Encoded, Example, encode, read_examples
from pipeline.training.scoring import (
    accuracy,
    answer_logits,
    hold,
    log_likelihoods,
    resolve_precision,
    score_files,
)
from tests.helpers.tasks import write_rows
from tests.helpers.training import load_home


def slow_score(model: torch.nn.Module, row: Encoded) -> float:
    """Log-probability of the answer by the plain way: one row, no padding, all logits, in fp64."""
    ids = torch.tensor([row.prompt + row.answer])
    with torch.no_grad():
        logits_TV = model(input_ids=ids).logits[0].double().log_softmax(-1)
    return sum(float(logits_TV[len(row.prompt) - 1 + i, token]) for i, token in enumerate(row.answer))


def test_choices_score_as_one_by_one(shared_home: Path) -> None:
    """Padded, batched and shared passes give every choice the score it has alone."""
    model, tokenizer = load_home(shared_home)
    choices = [("w10", "w11", "w12"), ("w10 w11", "w10 w12", "w13"), ("w9", "w9 w9 w9", "w10")]
    questions = ["w5 w6 w7", "w8", "w6 w6 w6 w6 w6 w6"]
    asked = [
        [encode(tokenizer, question, choice, 64) for choice in row]
        for question, row in zip(questions, choices, strict=True)
    ]
    got = log_likelihoods(model, asked, pad_id=0, precision="float32")
    expected = [[slow_score(model, row) for row in rows] for rows in asked]
    assert [one for row in got for one in row] == pytest.approx(
        [one for row in expected for one in row], abs=1e-5
    )


def test_a_score_is_the_mean_over_files_between_0_and_1(shared_home: Path, tmp_path: Path) -> None:
    """Choice files count by accuracy, free ones by exp of the mean log-likelihood of an answer token."""
    model, tokenizer = load_home(shared_home)
    rows = [{"question": "w5 w6", "answer": "w7 w8 w9"}, {"question": "w8", "answer": "w4"}]
    free = write_rows(tmp_path / "free.jsonl", rows)
    files = [shared_home / "validation.jsonl", free]
    held = [hold(path, read_examples(path), tokenizer, 64) for path in files]
    score = score_files(model, held, 7, pad_id=0, precision="float32")
    likelihood = (
        sum(slow_score(model, encode(tokenizer, row["question"], row["answer"], 64)) for row in rows) / 4
    )
    right, told = score.files
    assert (right["examples"], told["examples"], score.step) == (20, 2, 7)
    assert told["log_likelihood"] == pytest.approx(likelihood, abs=1e-5)
    assert score.score == pytest.approx((right["accuracy"] + math.exp(likelihood)) / 2, abs=1e-6)


def test_answers_without_a_finite_probability_are_an_error(shared_home: Path) -> None:
    """A model that overflows has no score; the error names the file."""
    model, tokenizer = load_home(shared_home)
    with torch.no_grad():
        model.model.norm.weight[0] = float("inf")
    held = hold(Path("v"), [Example("w5", ("w6",), free=True)], tokenizer, 64)
    with pytest.raises(RunError) as error:
        score_files(model, [held], 7, pad_id=0, precision="float32")
    assert error.value.where == "v, after 7 steps"


def test_answer_positions_are_the_last_ones(shared_home: Path) -> None:
    """Logits come for as many positions as asked, for every row of the batch."""
    model, _ = load_home(shared_home)
    with torch.no_grad():
        assert answer_logits(model, [(5, 6, 7), (8,)], 2, 0).shape == (2, 2, 64)


def test_the_first_of_equal_choices_is_the_guess() -> None:
    """Accuracy counts as lm-eval does: a tie goes to the first choice; no examples have none."""
    examples = [Example("a", ("b", "c"), 0), Example("a", ("b", "c"), 1)]
    assert accuracy([[0.0, 0.0], [0.0, 0.0]], examples) == 0.5
    with pytest.raises(InputError):
        accuracy([], [])


def test_auto_precision_follows_the_processor() -> None:
    """ "auto" takes what the machine multiplies fast; a given precision is kept."""
    assert resolve_precision("auto") == cpu_precision()
    assert resolve_precision("bfloat16") == "bfloat16"
