"""One expert: base model and data in, an ordinary Hugging Face checkpoint out, whole or not at all.

`train_expert` is what `mergescale train` runs for each expert; `train_unit` is the same as a unit of work. An
expert is built in a hidden folder beside its place and renamed; one that was made from the same base, data
and settings is kept, and one that was interrupted goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.checkpoint.files import atomic_write
from pipeline.machine import choose_device
from pipeline.training.attempt import Memory, candidate, key_of, mark_whole, newest, workspace
from pipeline.training.curves import CURVE, draw_losses
from pipeline.training.examples import Example, encode, read_examples, read_validation
from pipeline.training.identity import (
    RECORD,
    content_of,
    expert_identity,
    finished,
    model_digest,
    recipe_for,
)
from pipeline.training.loading import check_trainable, load_tokenizer, load_weights
from pipeline.training.saving import publish, save_weights, stored_dtype
from pipeline.training.scoring import hold, resolve_precision, score_files
from pipeline.training.settings import TrainSettings
from pipeline.training.steplog import LOG, Step, as_lines, progress_file
from pipeline.training.zero import require_deepspeed, zero_config

if TYPE_CHECKING:
    from pipeline.training.trainer import AnswerTrainer

_SAVE_EVERY_S = 120.0


def train_unit(payload: Mapping[str, Any]) -> dict[str, Any]:
    """`train_expert` as a unit of work: paths and settings in, the record out. Uses one thread.

    A second attempt that overlaps the first is harmless: whichever finishes first is kept.
    """
    return train_expert(
        Path(payload["base"]),
        [Path(path) for path in payload["train"]],
        Path(payload["out"]),
        TrainSettings(**payload["settings"]),
        validation=[Path(path) for path in payload["validation"]],
        device=payload["device"],
    )


def train_expert(
    base: Path,
    train: Sequence[Path],
    out: Path,
    settings: TrainSettings,
    *,
    validation: Sequence[Path] = (),
    device: str | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """Fine-tune the model in `base` on the rows of the `train` files and save it at `out`; return its record.

    Progress goes to `progress_file(out)`, one JSON line a step. `device` overrules the settings'. InputError:
    bad data, or a GPU or DeepSpeed that is not there. CheckpointError: no model at `base`. OutputError:
    something else lies at `out`. RunError: the loss diverged.
    """
    rows = [row for path in train for row in read_examples(path, settings.limit)]
    held = {path: read_validation(path) for path in validation}
    digest = model_digest(base)
    check_trainable(base, str(base))
    tokenizer = load_tokenizer(base, str(base))
    identity = expert_identity(base, digest, train, settings, validation, recipe_for(tokenizer))
    done = finished(out, identity)
    if done is not None:
        return done
    device = choose_device(device or settings.device)
    require_deepspeed(settings.deepspeed, device)
    how = {
        "device": device,
        "precision": resolve_precision(settings.precision, device),
        "versions": _versions(settings),
    }
    with workspace(out, key_of({"identity": content_of(identity), "how": how})) as work:
        try:
            run = _Run(base, tokenizer, settings, work, progress_file(out), how)
            return run.train(rows, held, identity, out, threads)
        finally:
            progress_file(out).unlink(missing_ok=True)


class _Run:
    """One attempt at one expert: from the last checkpoint, or from the base, to the expert in its place."""

    def __init__(
        self,
        base: Path,
        tokenizer: Any,
        settings: TrainSettings,
        work: Path,
        progress: Path,
        how: Mapping[str, Any],
    ) -> None:
        self._base, self._settings, self._work, self._progress = base, settings, work, progress
        self._tokenizer = tokenizer
        self._how = how
        self._resume: Path | None = None
        self._memory = Memory()
        earlier = newest(work)
        if earlier is not None:
            self._resume, self._memory = earlier
        self._saved = time.monotonic()

    def train(
        self,
        rows: Sequence[Example],
        held: Mapping[Path, Sequence[Example]],
        identity: Mapping[str, Any],
        out: Path,
        threads: int,
    ) -> dict[str, Any]:
        """Load, train, publish at `out`; returns the record."""
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils.logging import disable_progress_bar

        from pipeline.training.trainer import Setup, fine_tune

        torch.set_num_threads(threads)
        disable_progress_bar()  # transformers' own, for loading and saving; the steps are progress enough
        settings, started = self._settings, time.monotonic()
        tokenizer = self._tokenizer
        self._pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        encoded = [
            encode(tokenizer, row.question, row.answer, settings.max_length, row.where) for row in rows
        ]
        self._held = [hold(path, part, tokenizer, settings.max_length) for path, part in held.items()]
        self._stored = getattr(torch, stored_dtype(self._base))
        earlier_s = self._memory.steps[-1].elapsed_s if self._memory.steps else 0.0
        setup = Setup(
            device=self._how["device"],
            precision=self._how["precision"],
            work=self._work,
            pad_id=self._pad_id,
            deepspeed=zero_config(settings.deepspeed),
            resume=self._resume,
            elapsed_s=earlier_s,
        )
        model = load_weights(AutoModelForCausalLM, self._base, str(self._base), torch.float32)
        self._progress.write_text(as_lines(self._memory.steps))
        fine_tune(model, encoded, settings, setup, on_step=self._after, on_saved=self._on_saved)
        elapsed_s = earlier_s + time.monotonic() - started
        return self._publish(identity, out, {"examples": len(rows), "elapsed_s": round(elapsed_s, 3)})

    def _after(self, trainer: AnswerTrainer, step: Step) -> bool:
        """Write the step down, look at the validation data when it is time; whether to save a checkpoint."""
        self._memory.steps.append(step)
        with self._progress.open("a", encoding="utf-8") as log:
            log.write(as_lines([step]))
        last = step.step == step.steps
        if last or (self._held and step.step % (self._settings.evaluate_every or step.steps) == 0):
            self._evaluate(trainer, step.step)
        if last:
            return False
        if self._settings.save_every is not None:
            return step.step % self._settings.save_every == 0
        return time.monotonic() - self._saved >= _SAVE_EVERY_S

    def _evaluate(self, trainer: AnswerTrainer, step: int) -> None:
        """Score the weights as they would be saved, and save them if none were better."""
        if self._held:
            with trainer.as_stored(self._stored):
                score = score_files(
                    trainer.model_wrapped,
                    self._held,
                    step,
                    pad_id=self._pad_id,
                    precision=self._how["precision"],
                )
            self._memory.scores.append(score)
            if self._memory.chosen is not score:
                return
        save_weights(
            trainer.model, trainer.state_dict(), self._base, self._stored, candidate(self._work, step)
        )

    def _on_saved(self, checkpoint: Path) -> None:
        """The Trainer has written a checkpoint."""
        mark_whole(checkpoint, self._memory)
        self._saved = time.monotonic()

    def _publish(self, identity: Mapping[str, Any], out: Path, measured: Mapping[str, Any]) -> dict[str, Any]:
        """Complete the chosen weights and rename them to their place. If another attempt was first, its
        record counts.
        """
        steps, chosen = self._memory.steps, self._memory.chosen
        folder = candidate(self._work, chosen.step if chosen else steps[-1].step)
        record: dict[str, Any] = {
            **identity,
            **self._how,
            **measured,
            "steps": len(steps),
            "tokens": sum(step.tokens for step in steps),
            "first_loss": steps[0].loss,
            "last_loss": steps[-1].loss,
            "train_s": round(steps[-1].elapsed_s, 3),
        }
        if chosen is not None:
            record |= {
                "validation_score": chosen.score,
                "chosen_step": chosen.step,
                "scores": [score.as_dict() for score in self._memory.scores],
            }
        (folder / LOG).write_text(as_lines(steps))
        draw_losses({out.name: steps}, folder / CURVE)
        atomic_write(folder / RECORD, json.dumps(record, indent=1).encode())
        try:
            publish(folder, out, (folder / RECORD).stat().st_mode)
        except OSError:  # something lies there that is no empty directory
            other = finished(out, identity)
            if other is None:
                raise
            return other
        return record


def _versions(settings: TrainSettings) -> dict[str, str]:
    names = ["mergescale", "torch", "transformers", *(["deepspeed"] if settings.deepspeed else [])]
    return {name: version(name) for name in names}
