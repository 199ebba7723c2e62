"""The Trainer's glue: what it minimises, in which steps, and that it is deterministic and quiet."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import RunError
from pipeline.training.examples import Encoded, encode, read_examples
from pipeline.training.scoring import accuracy, hold, log_likelihoods
from pipeline.training.settings import TrainSettings
from pipeline.training.steplog import Step
from pipeline.training.trainer import Setup, fine_tune
from tests.helpers.training import load_home
from tests.pipeline.training.test_scoring import slow_score

BASIC: dict[str, Any] = {"learning_rate": 0.01, "batch_size": 8, "precision": "float32"}


def tuned(
    home: Path, work: Path, rows: list[Encoded] | None = None, precision: str = "float32", **changes: Any
) -> tuple[Any, list[Step]]:
    """The base after training on its tiny data (or on `rows`), and the steps."""
    model, tokenizer = load_home(home)
    if rows is None:
        rows = [
            encode(tokenizer, row.question, row.answer, 64) for row in read_examples(home / "train.jsonl")
        ]
    steps: list[Step] = []

    def on_step(_: Any, step: Step) -> bool:
        steps.append(step)
        return False

    setup = Setup("cpu", precision, work, pad_id=0)
    fine_tune(model, rows, TrainSettings(**(BASIC | changes)), setup, on_step=on_step, on_saved=steps.clear)
    return model, steps


def test_the_loss_is_that_of_the_answers_alone(shared_home: Path, tmp_path: Path) -> None:
    """The first step's loss is the mean of -log p over the answer tokens of its batch, nothing else."""
    model, tokenizer = load_home(shared_home)
    rows = [encode(tokenizer, "w5 w6 w7", "w8 w9", 64), encode(tokenizer, "w10", "w11", 64)]
    expected = -sum(slow_score(model, row) for row in rows) / 3
    (step,) = tuned(shared_home, tmp_path, rows)[1]
    assert step.loss == pytest.approx(expected, abs=1e-5)
    assert step.tokens == 5


def test_accumulated_batches_are_one_batch(shared_home: Path, tmp_path: Path) -> None:
    """Two batches of 4 a step minimise what one batch of 8 does: loss, norm, tokens and weights agree."""
    _, tokenizer = load_home(shared_home)
    answers = ["w8", "w9 w10 w11"] * 4
    rows = [encode(tokenizer, f"w5 w{number + 12}", answer, 64) for number, answer in enumerate(answers)]
    whole, (one,) = tuned(shared_home, tmp_path, rows)
    parts, (two,) = tuned(shared_home, tmp_path, rows, batch_size=4, accumulate=2)
    assert (two.loss, two.grad_norm) == pytest.approx((one.loss, one.grad_norm), rel=1e-5)
    assert two.tokens == one.tokens
    for name, tensor in whole.state_dict().items():
        assert torch.allclose(tensor, parts.state_dict()[name], atol=2e-4), name


def test_training_learns_and_generalises(shared_home: Path, tmp_path: Path) -> None:
    """After training, rows never seen are answered far better than chance, unlike by the base."""
    base, tokenizer = load_home(shared_home)
    held = hold(Path("v"), read_examples(shared_home / "validation.jsonl"), tokenizer, 64)
    model, steps = tuned(shared_home, tmp_path, epochs=5)

    def right(model: Any) -> float:
        return accuracy(log_likelihoods(model, held.asked, pad_id=0, precision="float32"), held.examples)

    assert steps[-1].loss < 0.5 * steps[0].loss
    assert right(base) < 0.8
    assert right(model) >= 0.9


def test_training_is_deterministic_and_leaves_the_global_generators_alone(
    shared_home: Path, tmp_path: Path
) -> None:
    """Two runs give the same bits, another seed others; no global random state moves."""
    states = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].tolist()
    first, second = (tuned(shared_home, tmp_path)[0].state_dict() for _ in range(2))
    other = tuned(shared_home, tmp_path, seed=1)[0].state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    assert np.random.get_state()[1].tolist() == states[2]


def test_the_rate_rises_over_the_warm_up_and_falls_towards_zero(shared_home: Path, tmp_path: Path) -> None:
    """The learning rate peaks once, at the end of the warm-up, and its last value is one step above zero."""
    rates = [step.learning_rate for step in tuned(shared_home, tmp_path, warmup=0.25)[1]]
    assert len(rates) == 8
    assert rates == pytest.approx([0.005, 0.01, *(0.01 * left / 7 for left in (6, 5, 4, 3, 2, 1))])


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 8),
        ({"epochs": 2, "accumulate": 3}, 6),
        ({"max_steps": 3}, 3),
        ({"max_steps": 11, "accumulate": 2}, 11),
    ],
)
def test_as_many_steps_as_planned(
    shared_home: Path, tmp_path: Path, changes: dict[str, Any], steps: int
) -> None:
    """Epochs, accumulation and max_steps give the steps that the settings promise, and all have a rate."""
    assert TrainSettings(**(BASIC | changes)).steps(64) == steps
    done = tuned(shared_home, tmp_path, **changes)[1]
    assert [(step.step, step.steps) for step in done] == [(number, steps) for number in range(1, steps + 1)]
    assert min(step.learning_rate for step in done) > 0


def test_divergence_is_an_error_that_names_the_step(shared_home: Path, tmp_path: Path) -> None:
    """A loss that is no longer finite stops the run with a RunError."""
    model, tokenizer = load_home(shared_home)
    with torch.no_grad():
        model.model.norm.weight[0] = float("inf")
    rows = [encode(tokenizer, "w5", "w6", 64)]
    settings, setup = TrainSettings(**BASIC), Setup("cpu", "float32", tmp_path, pad_id=0)
    with pytest.raises(RunError) as error:
        fine_tune(model, rows, settings, setup, on_step=lambda *_: True, on_saved=lambda _: None)
    assert error.value.where == "step 1 of 1"
    assert list(tmp_path.iterdir()) == []


def test_bfloat16_and_float32_runs_share_a_process(shared_home: Path, tmp_path: Path) -> None:
    """A worker may train experts of different precisions one after the other; the weights stay fp32."""
    losses = {}
    for precision in ("bfloat16", "float32", "bfloat16"):
        model, steps = tuned(shared_home, tmp_path, precision=precision)
        assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
        losses.setdefault(precision, steps[-1].loss)
        assert losses[precision] == steps[-1].loss
    assert losses["bfloat16"] != losses["float32"]


def test_gradient_checkpointing_changes_nothing_but_memory(shared_home: Path, tmp_path: Path) -> None:
    """Activations that are computed twice give the weights of those that are kept."""
    kept = tuned(shared_home, tmp_path, max_steps=2)[0].state_dict()
    twice = tuned(shared_home, tmp_path, max_steps=2, gradient_checkpointing=True)[0].state_dict()
    assert all(torch.equal(kept[name], twice[name]) for name in kept)


def test_the_trainer_says_and_writes_nothing(
    shared_home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No bars, no logs, no files, and the model's config is as it was."""
    before = load_home(shared_home)[0].config.to_dict()
    model, _ = tuned(shared_home, tmp_path / "work")
    assert capfd.readouterr() == ("", "")
    assert [file for file in (tmp_path / "work").rglob("*") if file.is_file()] == []
    assert model.config.to_dict() == before
