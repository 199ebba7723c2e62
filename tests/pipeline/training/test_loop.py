"""The loop: what it minimises, how it scores, and that it is deterministic."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import RunError
from pipeline.machine import cpu_precision
from pipeline.training.examples import Encoded, Example, encode, read_examples
from pipeline.training.loop import (
    Step,
    accuracy,
    answer_logits,
    choice_scores,
    fine_tune,
    resolve_precision,
)
from pipeline.training.settings import TrainSettings

SETTINGS = TrainSettings(learning_rate=0.01, batch_size=8, precision="float32")


def load(home: Path) -> tuple[Any, Any]:
    """(model, tokenizer) of the tiny base."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(home / "base", dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(home / "base")


def trained(home: Path, settings: TrainSettings) -> tuple[Any, list[Step]]:
    """The base after training on the tiny data, and its steps."""
    model, tokenizer = load(home)
    rows = [
        encode(tokenizer, row.question, row.choices[row.label], settings.max_length)
        for row in read_examples(home / "train.jsonl")
    ]
    steps: list[Step] = []
    fine_tune(model, rows, settings, pad_id=0, on_step=steps.append)
    return model, steps


def slow_score(model: Any, row: Encoded) -> float:
    """Log-probability of the answer by the plain way: one row, no padding, all logits, in fp64."""
    ids = torch.tensor([row.prompt + row.answer])
    with torch.no_grad():
        logits_TV = model(input_ids=ids).logits[0].double().log_softmax(-1)
    return sum(float(logits_TV[len(row.prompt) - 1 + i, token]) for i, token in enumerate(row.answer))


def test_padding_and_cutting_the_logits_change_no_score(shared_home: Path) -> None:
    """Scores of padded batches at the answer positions equal those of each row alone with all its logits."""
    model, tokenizer = load(shared_home)
    examples = [
        Example("w5", ("w6", "w7 w8 w9"), 0),
        Example("w20 w21 w22 w23 w24 w25", ("w30 w31", "w32", "w33"), 1),
    ]
    scores = choice_scores(model, tokenizer, examples, SETTINGS, pad_id=0)
    for example, row in zip(examples, scores, strict=True):
        slow = [slow_score(model, encode(tokenizer, example.question, one, 64)) for one in example.choices]
        assert row == pytest.approx(slow, abs=1e-5)


def test_the_loss_is_the_answers_mean_cross_entropy(shared_home: Path) -> None:
    """The first step's loss is the mean of -log p over the answer tokens of its batch, nothing else."""
    model, tokenizer = load(shared_home)
    rows = [encode(tokenizer, "w5 w6 w7", "w8 w9", 64), encode(tokenizer, "w10", "w11", 64)]
    expected = -sum(slow_score(model, row) for row in rows) / 3
    steps: list[Step] = []
    fine_tune(model, rows, SETTINGS, pad_id=0, on_step=steps.append)
    assert steps[0].loss == pytest.approx(expected, abs=1e-5)
    assert steps[0].tokens == 5


def test_training_learns_and_generalises(shared_home: Path) -> None:
    """After training, rows never seen are answered far better than chance, unlike by the base."""
    held = read_examples(shared_home / "validation.jsonl")
    base, tokenizer = load(shared_home)
    model, steps = trained(shared_home, TrainSettings(**{**SETTINGS.as_dict(), "epochs": 5}))
    before = accuracy(choice_scores(base, tokenizer, held, SETTINGS, pad_id=0), held)
    after = accuracy(choice_scores(model, tokenizer, held, SETTINGS, pad_id=0), held)
    assert steps[-1].loss < 0.5 * steps[0].loss
    assert before < 0.8
    assert after >= 0.9


def test_training_is_deterministic_and_leaves_the_global_generators_alone(shared_home: Path) -> None:
    """Two runs give the same bits, another seed others; no global random state moves."""
    states = (random.getstate(), torch.get_rng_state())
    first, second = (trained(shared_home, SETTINGS)[0].state_dict() for _ in range(2))
    other = trained(shared_home, TrainSettings(**{**SETTINGS.as_dict(), "seed": 1}))[0].state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


def test_the_rate_rises_over_the_warm_up_and_falls_towards_zero(shared_home: Path) -> None:
    """The learning rate peaks once, at the end of the warm-up, and its last value is one step above zero."""
    settings = TrainSettings(**{**SETTINGS.as_dict(), "warmup": 0.25})
    rates = [step.learning_rate for step in trained(shared_home, settings)[1]]
    assert len(rates) == 8
    assert rates == pytest.approx([0.005, 0.01, *(0.01 * left / 7 for left in (6, 5, 4, 3, 2, 1))])


def test_divergence_is_an_error_that_names_the_step(shared_home: Path) -> None:
    """A loss that is no longer finite stops the run with a RunError."""
    model, tokenizer = load(shared_home)
    with torch.no_grad():
        model.model.norm.weight[0] = float("inf")
    with pytest.raises(RunError) as error:
        fine_tune(model, [encode(tokenizer, "w5", "w6", 64)], SETTINGS, pad_id=0, on_step=lambda step: None)
    assert error.value.where == "step 1 of 1"


def test_answer_positions_are_the_last_ones(shared_home: Path) -> None:
    """Logits come for as many positions as asked, for every row of the batch."""
    model, _ = load(shared_home)
    with torch.no_grad():
        assert answer_logits(model, [(5, 6, 7), (8,)], 2, 0).shape == (2, 2, 64)


def test_the_first_of_equal_choices_is_the_guess() -> None:
    """Accuracy counts as lm-eval does: a tie goes to the first choice."""
    examples = [Example("a", ("b", "c"), 0), Example("a", ("b", "c"), 1)]
    assert accuracy([[0.0, 0.0], [0.0, 0.0]], examples) == 0.5


def test_auto_precision_follows_the_processor() -> None:
    """ "auto" takes what the machine multiplies fast; a given precision is kept."""
    assert resolve_precision("auto") == cpu_precision()
    assert resolve_precision("bfloat16") == "bfloat16"
