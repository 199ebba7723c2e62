"""One stage of training on batches in a given order, with transformers' Trainer. Resumable to the same bytes.

Legend: B rows, T tokens, A positions whose token is to be predicted (the last A of T), V vocabulary.
Both stages are one loop: text predicts all its tokens, an instruct row its answer. It knows no corpus.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import RunError
from pipeline.machine import cpu_precision
from pipeline.training.examples import Encoded, pad_left
from pipeline.training.scratch.corpus import Windows

if TYPE_CHECKING:
    import torch

_IGNORED = -100
_LOGGED = ("step", "loss", "grad_norm", "learning_rate")
_WHOLE = "whole"


class Batches(Protocol):
    """Item k is the k-th batch of the stage: what the model reads, and "labels" of its last A positions."""

    def __len__(self) -> int: ...

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]: ...


@dataclass(frozen=True)
class Text:
    """Batches of packed text: every token is predicted from those before it."""

    windows: Windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        import torch

        window_BT = torch.from_numpy(self.windows[step])
        return {"input_ids": window_BT[:, :-1], "labels": window_BT[:, 1:]}


@dataclass(frozen=True)
class Answers:
    """Batches of choice rows by their indices: only the tokens of the answers are predicted."""

    rows: Sequence[Encoded]
    plan: Sequence[Sequence[int]]
    pad_id: int

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        import torch

        rows = [self.rows[index] for index in self.plan[step]]
        ids, mask = pad_left([row.inputs for row in rows], self.pad_id)
        width = max(len(row.answer) for row in rows)
        mask_BT = torch.tensor(mask)
        return {
            "input_ids": torch.tensor(ids),
            "attention_mask": mask_BT,
            "position_ids": (mask_BT.cumsum(dim=1) - 1).clamp(min=0),
            "labels": torch.tensor(
                [[_IGNORED] * (width - len(row.answer)) + list(row.answer) for row in rows]
            ),
        }


@dataclass(frozen=True)
class Mixed:
    """Batches of answers, every `every`-th replaced by one of text, so that the text is not forgotten."""

    answers: Answers
    text: Text
    every: int

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        number, rest = divmod(step + 1, self.every)
        return self.answers[step] if rest else self.text[number - 1]


def batch_loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross-entropy (nats) of the labelled tokens; logits are computed at their positions only."""
    import torch

    labels_BA = batch["labels"]
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits_BAV = model(**inputs, logits_to_keep=labels_BA.shape[1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits_BAV.flatten(0, 1).float(), labels_BA.flatten(), ignore_index=_IGNORED
    )


@dataclass(frozen=True)
class Recipe:
    """How a stage is trained. `warmup`: share of the steps; `folder` keeps what a killed run goes on from."""

    folder: Path
    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    max_grad_norm: float
    seed: int
    precision: str
    save_every: int
    device: str


def train_stage(
    model: Any, batches: Batches, recipe: Recipe, on_step: Callable[[int], None]
) -> list[dict[str, float]]:
    """Train `model` (fp32, in place) on every batch in order; return one {"step", "loss", ...} a step.

    AdamW, gradient norm clipped. It goes on from the newest whole checkpoint in the recipe's folder.
    Deterministic on one processor for one thread count. RunError: the loss is no longer finite.
    """
    from transformers import PrinterCallback, Trainer, TrainerCallback

    class Stage(Trainer):  # type: ignore[misc]  # transformers ships no types
        """The Trainer with our loss."""

        def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> torch.Tensor:
            """The loss of one batch."""
            return batch_loss(model, inputs)

    class Watch(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
        """Tells the step, stops on a loss that is no number, marks a checkpoint when it is whole."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            """One step is done."""
            if "grad_norm" not in logs:  # the summary at the end
                return
            if not math.isfinite(logs["loss"]) or not math.isfinite(logs["grad_norm"]):
                raise RunError(
                    "training diverged",
                    where=f"step {state.global_step} of {len(batches)}",
                    found=f"loss {logs['loss']}, gradient norm {logs['grad_norm']}",
                    hint="lower learning_rate",
                )
            on_step(state.global_step)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """The checkpoint of the present step is whole."""
            (recipe.folder / f"checkpoint-{state.global_step}" / _WHOLE).touch()

    use_cache = model.config.use_cache
    trainer = Stage(
        model=model,
        args=_arguments(recipe, len(batches)),
        train_dataset=batches,
        data_collator=lambda items: items[0],
        callbacks=[Watch()],
    )
    model.config.use_cache = use_cache  # the Trainer's value would be saved with the model
    trainer.remove_callback(PrinterCallback)
    newest = newest_checkpoint(recipe.folder)
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    return [{name: entry[name] for name in _LOGGED} for entry in trainer.state.log_history if "loss" in entry]


def newest_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint that was written whole; what a kill left unfinished is removed."""
    found = {int(path.name.rpartition("-")[2]): path for path in folder.glob("checkpoint-*")}
    for step, path in list(found.items()):
        if not (path / _WHOLE).exists():
            shutil.rmtree(found.pop(step))
    return found[max(found)] if found else None


def resolve(precision: str, device: str) -> str:
    """ "auto" -> what the device multiplies in hardware."""
    if precision != "auto":
        return precision
    return cpu_precision() if device == "cpu" else "bfloat16"


def _arguments(recipe: Recipe, steps: int) -> Any:
    """The Trainer's own arguments: only the training, every step logged, the batches in their order."""
    from transformers import TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(recipe.folder),
        max_steps=steps,
        per_device_train_batch_size=1,  # an item is a whole batch
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=max(1, round(recipe.warmup * steps)),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        adam_beta2=0.95,
        optim="adamw_torch_fused",
        seed=recipe.seed,
        bf16=resolve(recipe.precision, recipe.device) == "bfloat16",
        use_cpu=recipe.device == "cpu",
        save_strategy="steps",
        save_steps=recipe.save_every,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        average_tokens_across_devices=False,
    )
    arguments.device  # noqa: B018 (it finds the devices, and counts them)
    arguments._n_gpu = min(1, arguments.n_gpu)  # a base is trained on one GPU, however many it sees
    return arguments
