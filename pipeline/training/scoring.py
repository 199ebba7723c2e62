"""How well a model answers held-out rows, as lm-eval would find. Torch in, plain numbers out; trains nothing.

Legend: B rows, T tokens, A answer positions (the last A of T), V vocabulary, C choices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError, RunError
from pipeline.machine import cpu_precision
from pipeline.training.examples import Encoded, Example, encode, pad_left

if TYPE_CHECKING:
    import torch

_ROWS = 16


@dataclass(frozen=True)
class Held:
    """The rows of one validation file, and each of their choices as tokens."""

    path: Path
    examples: tuple[Example, ...]
    asked: tuple[tuple[Encoded, ...], ...]


@dataclass(frozen=True)
class Score:
    """What a model scored after `step` steps: `score` is between 0 and 1, higher is better.

    It is the mean over the validation files: of one with choices its accuracy, of one with free answers
    exp(mean log-likelihood of an answer token), the geometric mean of the tokens' probabilities.
    files: for each {"path", "examples", "accuracy"} or {"path", "examples", "log_likelihood"} (nats a token).
    """

    step: int
    score: float
    files: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """Field -> value, for JSON."""
        return {"step": self.step, "score": self.score, "files": list(self.files)}


def hold(path: Path, examples: Sequence[Example], tokenizer: Any, max_length: int) -> Held:
    """Validation rows, tokenized once for all the times they are asked."""
    asked = (
        tuple(
            encode(tokenizer, example.question, choice, max_length, example.where)
            for choice in example.choices
        )
        for example in examples
    )
    return Held(path, tuple(examples), tuple(asked))


def resolve_precision(wanted: str, device: str = "cpu") -> str:
    """ "auto" -> what the device multiplies in hardware; another precision is kept."""
    if wanted != "auto":
        return wanted
    if device == "cpu":
        return cpu_precision()
    import torch

    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def score_files(model: Any, held: Sequence[Held], step: int, *, pad_id: int, precision: str) -> Score:
    """The score of `model` (put into evaluation mode) on every file, see `Score`."""
    model.eval()
    files, values = [], []
    for one in held:
        likelihoods = log_likelihoods(model, one.asked, pad_id=pad_id, precision=precision)
        if not all(math.isfinite(value) for row in likelihoods for value in row):
            raise RunError(
                "the model's answers have no finite probability",
                where=f"{one.path}, after {step} steps",
                hint="lower learning_rate, or give a base stored in bfloat16 or float32",
            )
        entry: dict[str, Any] = {"path": str(one.path), "examples": len(one.examples)}
        if one.examples[0].free:
            tokens = sum(len(row[0].answer) for row in one.asked)
            mean = sum(row[0] for row in likelihoods) / tokens
            files.append(entry | {"log_likelihood": mean})
            values.append(math.exp(mean))
        else:
            values.append(accuracy(likelihoods, one.examples))
            files.append(entry | {"accuracy": values[-1]})
    return Score(step, sum(values) / len(values), tuple(files))


def log_likelihoods(
    model: Any, asked: Sequence[Sequence[Encoded]], *, pad_id: int, precision: str
) -> list[list[float]]:
    """Per example, the summed log-probability (nats) of each of its C choices: what lm-eval's `acc` compares.

    Choices that share their input (one-token answers) cost one pass of the model.
    """
    import torch

    answers: dict[tuple[int, ...], dict[tuple[int, ...], float]] = {}
    for pair in (pair for rows in asked for pair in rows):
        answers.setdefault(pair.inputs, {})[pair.answer] = 0.0
    inputs = sorted(answers, key=len)
    with torch.inference_mode(), autocast(precision, model.device.type):
        for start in range(0, len(inputs), _ROWS):
            part = inputs[start : start + _ROWS]
            width = max(len(answer) for row in part for answer in answers[row])
            logits_BAV = answer_logits(model, part, width, pad_id)
            for row, logits_AV in zip(part, logits_BAV, strict=True):
                for answer in answers[row]:
                    answers[row][answer] = _log_probability(logits_AV, answer)
    return [[answers[pair.inputs][pair.answer] for pair in rows] for rows in asked]


def answer_logits(model: Any, inputs: Sequence[tuple[int, ...]], width: int, pad_id: int) -> torch.Tensor:
    """Logits at the last `width` positions of each row, B x A x V; a row's first token has position 0."""
    tensors = {name: tensor.to(model.device) for name, tensor in input_tensors(inputs, pad_id).items()}
    logits: torch.Tensor = model(**tensors, logits_to_keep=width, use_cache=False).logits
    return logits


def input_tensors(inputs: Sequence[tuple[int, ...]], pad_id: int) -> dict[str, torch.Tensor]:
    """What a model reads, each B x T and padded on the left: input_ids, attention_mask, position_ids."""
    import torch

    ids, mask = pad_left(inputs, pad_id)
    mask_BT = torch.tensor(mask)
    position_BT = (mask_BT.cumsum(dim=1) - 1).clamp(min=0)
    return {"input_ids": torch.tensor(ids), "attention_mask": mask_BT, "position_ids": position_BT}


def autocast(precision: str, device: str) -> AbstractContextManager[Any]:
    """Matrix products in bfloat16, or left alone."""
    import torch

    return nullcontext() if precision == "float32" else torch.autocast(device, dtype=torch.bfloat16)


def _log_probability(logits_AV: torch.Tensor, answer: tuple[int, ...]) -> float:
    """Summed log-probability of the answer's tokens, which are predicted at the last positions."""
    import torch

    last = logits_AV[-len(answer) :].float().log_softmax(dim=-1)
    return float(last.gather(1, torch.tensor(answer, device=last.device).unsqueeze(1)).sum())


def accuracy(scores: Sequence[Sequence[float]], examples: Sequence[Example]) -> float:
    """Share of examples whose right choice has the highest score; of equal ones the first is chosen."""
    if not examples:
        raise InputError("no validation examples")
    right = [max(range(len(row)), key=row.__getitem__) for row in scores]
    return sum(guess == example.label for guess, example in zip(right, examples, strict=True)) / len(examples)
