"""transformers' Trainer, taught our batches: rows of like length, answers only. Nothing leaves it but steps.

Legend: B rows, T tokens, A answer positions (the last A of T), V vocabulary.
The Trainer's own evaluation, logging, progress bars and hub are off; it prints nothing. Rows of a batch have
like length, and logits are computed at answer positions only: the output matrix is as large as all layers of
a small model together. The global random states are as before when it ends.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from pipeline.errors import RunError
from pipeline.training.examples import Encoded, plan_batches
from pipeline.training.saving import as_stored
from pipeline.training.scoring import input_tensors
from pipeline.training.settings import TrainSettings
from pipeline.training.steplog import Step

_IGNORED = -100


@dataclass(frozen=True)
class Setup:
    """Where and how one run trains: "cpu" or "cuda", "float32" or "bfloat16", the folder for its checkpoints,
    DeepSpeed's config where it is used, the checkpoint to go on from and the seconds spent before it.
    """

    device: str
    precision: str
    work: Path
    pad_id: int
    deepspeed: dict[str, Any] | None = None
    resume: Path | None = None
    elapsed_s: float = 0.0


def fine_tune(
    model: Any,
    rows: Sequence[Encoded],
    settings: TrainSettings,
    setup: Setup,
    *,
    on_step: Callable[[AnswerTrainer, Step], bool],
    on_saved: Callable[[Path], None],
) -> None:
    """Train every parameter of `model` (fp32, in place) to predict each row's answer after its prompt.

    AdamW (Loshchilov & Hutter 2019), linear warm-up and decay, gradient norm clipped. Deterministic for one
    machine and thread count; a run resumed from a checkpoint ends in the same bits. `on_step` is called after
    each step and says whether to write a checkpoint, `on_saved` gets its directory when it is written.
    RunError when the loss is no longer finite.
    """
    with _own_random_states():
        trainer = AnswerTrainer(model, rows, settings, setup, on_step)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_Saved(on_saved))
        trainer.train(resume_from_checkpoint=str(setup.resume) if setup.resume else None)
    model.eval()


class AnswerTrainer(Trainer):  # type: ignore[misc]
    """The glue: our batches in, our loss, our schedule, one `Step` out for each step."""

    lr_scheduler: Any
    loss_is_scaled_for_ga = True  # each batch's loss is divided by the answer tokens of the whole step

    def __init__(
        self,
        model: Any,
        rows: Sequence[Encoded],
        settings: TrainSettings,
        setup: Setup,
        on_step: Callable[[AnswerTrainer, Step], bool],
    ) -> None:
        self._settings, self._setup, self._on_step = settings, setup, on_step
        self._steps, self._tokens = settings.steps(len(rows)), 0
        use_cache = getattr(model.config, "use_cache", None)
        super().__init__(model=model, args=_arguments(settings, setup, self._steps), train_dataset=rows)
        if use_cache is not None:  # the Trainer's value would be saved with the expert
            model.config.use_cache = use_cache
        self._started = time.monotonic()

    def get_train_dataloader(self) -> torch.utils.data.DataLoader[Any]:
        """All batches of the run in order, as if of one epoch: any step can be found again when resuming."""
        settings, lengths = self._settings, [len(row.inputs) for row in self.train_dataset]
        wanted = self._steps * settings.accumulate
        epochs = settings.epochs
        if settings.max_steps:
            epochs = math.ceil(wanted / math.ceil(len(lengths) / settings.batch_size))
        batches = plan_batches(lengths, settings.batch_size, epochs, settings.seed)[:wanted]
        return torch.utils.data.DataLoader(
            self.train_dataset,
            batch_sampler=batches,
            collate_fn=partial(_collate, pad_id=self._setup.pad_id),
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: Any
    ) -> tuple[list[Any], int]:
        """The batches of the next step and the number of their answer tokens."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._tokens = sum(int(batch["attention_mask"].sum()) for batch in samples)
        return samples, sum(int((batch["targets"] != _IGNORED).sum()) for batch in samples)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """This batch's share of the mean cross-entropy over all answer tokens of the step."""
        target_BA = inputs.pop("targets")
        logits_BAV = model(**inputs, logits_to_keep=target_BA.shape[1], use_cache=False).logits
        loss: torch.Tensor = torch.nn.functional.cross_entropy(
            logits_BAV.flatten(0, 1).float(), target_BA.flatten(), ignore_index=_IGNORED, reduction="sum"
        )
        return loss.div(num_items_in_batch)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Up in a line over the warm-up, then down towards zero; no step has rate zero."""
        if self.lr_scheduler is None:
            rising = max(1, round(self._settings.warmup * num_training_steps))

            def share(done: int) -> float:
                step = done + 1
                falling = (num_training_steps - step + 1) / (num_training_steps - rising + 1)
                return step / rising if step <= rising else falling

            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, share)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The weights by name, gathered where DeepSpeed shards them."""
        state: dict[str, torch.Tensor] = self.accelerator.get_state_dict(self.model_wrapped)
        return state

    def as_stored(self, dtype: torch.dtype) -> AbstractContextManager[None]:
        """Inside, the model's weights are rounded to `dtype`; under DeepSpeed they are in bf16 anyway."""
        return nullcontext() if self.is_deepspeed_enabled else as_stored(self.model, dtype)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: it would walk over all parameters at every step."""
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """One step is done (the summary at the end has no gradient norm, and is not needed)."""
        if "grad_norm" not in logs:
            return
        loss, norm = logs["loss"], logs["grad_norm"]
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise RunError(
                "training diverged",
                where=f"step {self.state.global_step} of {self._steps}",
                found=f"loss {loss}, gradient norm {norm}",
                hint="lower learning_rate or use precision: float32",
            )
        elapsed_s = self._setup.elapsed_s + time.monotonic() - self._started
        rate = logs["learning_rate"]
        step = Step(self.state.global_step, self._steps, loss, norm, rate, self._tokens, elapsed_s)
        self.control.should_save = self._on_step(self, step)


class _Saved(TrainerCallback):  # type: ignore[misc]
    """Says where a checkpoint was written."""

    def __init__(self, tell: Callable[[Path], None]) -> None:
        self._tell = tell

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """The checkpoint of the present step is whole."""
        self._tell(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def _arguments(settings: TrainSettings, setup: Setup, steps: int) -> TrainingArguments:
    """Our settings in the Trainer's words, everything else off."""
    arguments = TrainingArguments(
        output_dir=str(setup.work),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch_fused",
        seed=settings.seed,
        bf16=setup.precision == "bfloat16",
        use_cpu=setup.device == "cpu",
        deepspeed=setup.deepspeed,
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # `on_step` asks for checkpoints
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
    )
    if setup.deepspeed is None:
        arguments.device  # noqa: B018 (it finds the devices, and counts them)
        arguments._n_gpu = min(1, arguments.n_gpu)  # an expert is trained on one GPU, however many it sees
    return arguments


def _collate(rows: Sequence[Encoded], pad_id: int) -> dict[str, torch.Tensor]:
    """One batch: what the model reads (B x T), and `targets` (B x A), padded on the left."""
    width = max(len(row.answer) for row in rows)
    targets = [[_IGNORED] * (width - len(row.answer)) + list(row.answer) for row in rows]
    return input_tensors([row.inputs for row in rows], pad_id) | {"targets": torch.tensor(targets)}


@contextmanager
def _own_random_states() -> Iterator[None]:
    """Python's, numpy's and torch's global generators are afterwards as they were."""
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])
