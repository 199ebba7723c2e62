"""The training loop: full fine-tuning of a causal language model on answers. Torch in, losses out.

Legend: B rows, T tokens, A answer positions (the last A of T), V vocabulary, C choices.
A plain loop and no transformers Trainer, for speed on small machines: batches of like length, logits at the
answer positions only, no evaluation or checkpoint machinery. It opens no file, prints nothing and leaves the
global random state alone (shuffling has its own generator; the models trained here have no dropout).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError, RunError
from pipeline.machine import cpu_precision
from pipeline.training.examples import Encoded, Example, encode, pad_left, plan_batches
from pipeline.training.settings import TrainSettings

if TYPE_CHECKING:
    import torch

_IGNORED = -100
_SCORE_ROWS = 16


@dataclass(frozen=True)
class Step:
    """One optimiser step: mean cross-entropy of the answer tokens (nats), gradient norm before clipping."""

    step: int
    steps: int
    loss: float
    grad_norm: float
    learning_rate: float
    tokens: int
    elapsed_s: float


def resolve_precision(wanted: str) -> str:
    """ "auto" -> what the processor multiplies in hardware; another precision is kept."""
    return cpu_precision() if wanted == "auto" else wanted


def fine_tune(
    model: Any,
    rows: Sequence[Encoded],
    settings: TrainSettings,
    *,
    pad_id: int,
    on_step: Callable[[Step], None],
) -> None:
    """Train every parameter of `model` (fp32, in place) to predict each row's answer after its prompt.

    AdamW (Loshchilov & Hutter 2019), linear warm-up and decay, gradient norm clipped. Deterministic for one
    machine and thread count. RunError when the loss is no longer finite.
    """
    import torch

    batches = plan_batches(
        [len(row.inputs) for row in rows], settings.batch_size, settings.epochs, settings.seed
    )
    rate = _rate(settings, len(batches))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    context = _autocast(resolve_precision(settings.precision))
    model.train()
    started = time.monotonic()
    for number, batch in enumerate(batches, 1):
        for group in optimizer.param_groups:
            group["lr"] = rate(number)
        with context():
            loss, tokens = _batch_loss(model, [rows[index] for index in batch], pad_id)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        value = float(loss.detach())
        if not torch.isfinite(norm) or value != value:
            raise RunError(
                "training diverged",
                where=f"step {number} of {len(batches)}",
                found=f"loss {value}, gradient norm {float(norm)}",
                hint="lower learning_rate or use precision: float32",
            )
        optimizer.step()
        elapsed_s = time.monotonic() - started
        on_step(Step(number, len(batches), value, float(norm), rate(number), tokens, elapsed_s))
    model.eval()


def _rate(settings: TrainSettings, steps: int) -> Callable[[int], float]:
    """The learning rate of step 1..steps: up in a line over the warm-up, then down in a line towards zero."""
    rising = max(1, round(settings.warmup * steps))

    def rate(step: int) -> float:
        share = step / rising if step <= rising else (steps - step + 1) / (steps - rising + 1)
        return settings.learning_rate * share

    return rate


def _autocast(precision: str) -> Callable[[], AbstractContextManager[Any]]:
    """Matrix products in bfloat16, or left alone."""
    import torch

    if precision == "float32":
        return nullcontext
    return lambda: torch.autocast("cpu", dtype=torch.bfloat16)


def _batch_loss(model: Any, rows: Sequence[Encoded], pad_id: int) -> tuple[torch.Tensor, int]:
    """(mean cross-entropy over all answer tokens of the batch, tokens read)."""
    import torch

    width = max(len(row.answer) for row in rows)
    logits_BAV = answer_logits(model, [row.inputs for row in rows], width, pad_id)
    target_BA = torch.tensor([[_IGNORED] * (width - len(row.answer)) + list(row.answer) for row in rows])
    loss = torch.nn.functional.cross_entropy(
        logits_BAV.flatten(0, 1).float(), target_BA.flatten(), ignore_index=_IGNORED
    )
    return loss, sum(len(row.inputs) for row in rows)


def answer_logits(model: Any, inputs: Sequence[tuple[int, ...]], width: int, pad_id: int) -> torch.Tensor:
    """Logits at the last `width` positions of each row, B x A x V; a row's first token has position 0.

    The output matrix is as large as all layers of a small model together, so it is applied nowhere else.
    """
    import torch

    ids, mask = pad_left(inputs, pad_id)
    mask_BT = torch.tensor(mask)
    position_BT = (mask_BT.cumsum(dim=1) - 1).clamp(min=0)
    logits: torch.Tensor = model(
        input_ids=torch.tensor(ids),
        attention_mask=mask_BT,
        position_ids=position_BT,
        logits_to_keep=width,
        use_cache=False,
    ).logits
    return logits


def choice_scores(
    model: Any, tokenizer: Any, examples: Sequence[Example], settings: TrainSettings, *, pad_id: int
) -> list[list[float]]:
    """Per example, the summed log-probability (nats) of each of its C choices: what lm-eval's `acc` compares.

    Choices that share their input (one-token answers) cost one pass of the model.
    """
    import torch

    asked = [
        [encode(tokenizer, example.question, choice, settings.max_length) for choice in example.choices]
        for example in examples
    ]
    inputs = sorted({row.inputs for rows in asked for row in rows}, key=len)
    width = max(len(row.answer) for rows in asked for row in rows)
    found: dict[tuple[int, ...], torch.Tensor] = {}
    context = _autocast(resolve_precision(settings.precision))
    with torch.inference_mode(), context():
        for start in range(0, len(inputs), _SCORE_ROWS):
            part = inputs[start : start + _SCORE_ROWS]
            found |= dict(zip(part, answer_logits(model, part, width, pad_id), strict=True))
        return [[_log_probability(found[row.inputs], row.answer) for row in rows] for rows in asked]


def _log_probability(logits_AV: torch.Tensor, answer: tuple[int, ...]) -> float:
    """Summed log-probability of the answer's tokens, which are predicted at the last positions."""
    import torch

    last = logits_AV[-len(answer) :].float().log_softmax(dim=-1)
    return float(last.gather(1, torch.tensor(answer).unsqueeze(1)).sum())


def accuracy(scores: Sequence[Sequence[float]], examples: Sequence[Example]) -> float:
    """Share of examples whose right choice has the highest score; of equal ones the first is chosen."""
    if not examples:
        raise InputError("no validation examples")
    right = [max(range(len(row)), key=row.__getitem__) for row in scores]
    return sum(guess == example.label for guess, example in zip(right, examples, strict=True)) / len(examples)
