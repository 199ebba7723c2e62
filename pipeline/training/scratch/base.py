"""One base model: corpus, tokenizer and settings in, an ordinary Hugging Face checkpoint out.

`make_base` pretrains on packed text, then, where the settings say so, trains on the answers of choice rows.
A killed run goes on where its last checkpoint was and ends in the same bytes; a finished base is kept while
corpus, tokenizer, rows and settings are the same. It never sees the other bases of a family.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.checkpoint.files import digest_file
from pipeline.checkpoint.own import opened_own
from pipeline.machine import choose_device
from pipeline.training.examples import encode, plan_batches, read_examples
from pipeline.training.identity import finished
from pipeline.training.scratch.corpus import Windows
from pipeline.training.scratch.kept import finished_stage, seal_stage
from pipeline.training.scratch.once import make_once
from pipeline.training.scratch.settings import InstructSettings, ScratchSettings, scratch_from_dict
from pipeline.training.scratch.stages import (
    Answers,
    Batches,
    Mixed,
    Recipe,
    Text,
    batch_loss,
    resolve,
    train_stage,
)

LOG = "training_log.jsonl"
#: Part of a base's identity; raised when the making changes in a way that changes its results.
_RECIPE = 1
_HELD_BATCHES = 8
_STEP = "step"


@dataclass(frozen=True)
class BaseSources:
    """What a base is made from: tokens.npy folder, tokenizer folder, choice rows of the second stage."""

    tokens: Path
    tokenizer: Path
    instruct: Path | None = None


def base_unit(payload: Mapping[str, Any]) -> dict[str, Any]:
    """`make_base` as a unit of work: paths and settings in, the record out. One thread on a CPU."""
    instruct = payload["instruct"]
    sources = BaseSources(
        Path(payload["tokens"]), Path(payload["tokenizer"]), Path(instruct) if instruct else None
    )
    return make_base(
        sources, Path(payload["out"]), scratch_from_dict(payload["settings"]), device=payload["device"]
    )


def make_base(
    sources: BaseSources, out: Path, settings: ScratchSettings, *, device: str = "auto", threads: int = 1
) -> dict[str, Any]:
    """Train a base model and save it at `out`; return its record.

    A second attempt waits for one that is at work, and then finds its result. InputError: bad rows.
    OutputError: something else lies at `out`. RunError: the loss diverged.
    """
    identity = base_identity(sources, settings)
    device = choose_device(device)
    with _alone(out) as work:
        record = finished(out, identity)
        if record is None:
            record = make_once(
                out, identity, lambda folder: _build(sources, settings, work, folder, device, threads)
            )
        shutil.rmtree(work, ignore_errors=True)
    return record


def base_identity(sources: BaseSources, settings: ScratchSettings) -> dict[str, Any]:
    """What decides a base: digests of tokens, tokenizer and rows, settings, the recipe."""
    rows = sources.instruct if settings.instruct else None
    return {
        "kind": "base",
        "tokens": {"path": str(sources.tokens), "digest": digest_file(sources.tokens / "train.npy")},
        "tokenizer": {
            "path": str(sources.tokenizer),
            "digest": digest_file(sources.tokenizer / "tokenizer.json"),
        },
        "instruct": {"path": str(rows), "digest": digest_file(rows)} if rows else None,
        "settings": settings.as_dict(),
        "recipe": _RECIPE,
    }


def steps_file(out: Path) -> Path:
    """Where the number of the last step of the base being made for `out` is written."""
    return out.with_name(f".{out.name}.work") / _STEP


@contextmanager
def _alone(out: Path) -> Iterator[Path]:
    """The folder of the unfinished work of `out`, held by one process at a time."""
    work = steps_file(out).parent
    out.parent.mkdir(parents=True, exist_ok=True)
    with opened_own(out.with_name(f".{out.name}.lock"), os.O_RDWR | os.O_CREAT) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for unfinished in out.parent.glob(f".{out.name}.*.part"):  # of a run that was killed
            shutil.rmtree(unfinished)
        work.mkdir(exist_ok=True)
        yield work


def _build(
    sources: BaseSources, settings: ScratchSettings, work: Path, folder: Path, device: str, threads: int
) -> dict[str, Any]:
    """Both stages, measured and saved in `folder`."""
    import torch
    from transformers import AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    torch.set_num_threads(threads)
    disable_progress_bar()
    started = time.monotonic()
    tokenizer = AutoTokenizer.from_pretrained(sources.tokenizer, trust_remote_code=False)
    model = _fresh_model(settings, tokenizer)
    log: list[dict[str, Any]] = []
    for name, batches, recipe in _stages(sources, settings, tokenizer, work, device):
        log += _run_stage(name, model, batches, recipe, work, before=len(log))
    measured = {
        "parameters": model.num_parameters(),
        "tokens_read": settings.steps * settings.batch_size * settings.sequence,
        "precision": resolve(settings.precision, device),
        "device": device,
        "losses": {stage: _ends([row for row in log if row["stage"] == stage]) for stage in _names(log)},
    }
    model.to("cpu", getattr(torch, settings.stored))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / LOG).write_text("".join(json.dumps(row) + "\n" for row in log))
    measured["held_perplexity"] = _perplexity(model.to(torch.float32), sources.tokens, settings)
    return {**measured, "elapsed_s": round(time.monotonic() - started, 3)}


def _fresh_model(settings: ScratchSettings, tokenizer: Any) -> Any:
    """A Llama of the wanted shape with random weights that the seed decides."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = settings.architecture
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads or shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=shape.tied,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        return LlamaForCausalLM(config)


def _stages(
    sources: BaseSources, settings: ScratchSettings, tokenizer: Any, work: Path, device: str
) -> Iterator[tuple[str, Batches, Recipe]]:
    """Name, batches and recipe of each stage, in order."""
    common: dict[str, Any] = {
        "max_grad_norm": settings.max_grad_norm,
        "seed": settings.seed,
        "precision": settings.precision,
        "save_every": settings.save_every,
        "device": device,
    }
    tokens = np.load(sources.tokens / "train.npy", mmap_mode="r")
    text = Text(Windows(tokens, settings.batch_size, settings.sequence, settings.steps, settings.seed))
    yield (
        "text",
        text,
        Recipe(
            folder=work / "text",
            learning_rate=settings.learning_rate,
            schedule=settings.schedule,
            warmup=settings.warmup,
            weight_decay=settings.weight_decay,
            **common,
        ),
    )
    if settings.instruct is not None and sources.instruct is not None:
        own = settings.instruct
        answers = _answers(sources.instruct, own, tokenizer, settings.seed)
        yield (
            "instruct",
            Mixed(answers, text, own.text_every) if own.text_every else answers,
            Recipe(
                folder=work / "instruct",
                learning_rate=own.learning_rate,
                schedule="linear",
                warmup=own.warmup,
                weight_decay=0.0,
                **common,
            ),
        )


def _answers(path: Path, own: InstructSettings, tokenizer: Any, seed: int) -> Answers:
    """The choice rows as `steps` batches; they are repeated where there are fewer."""
    rows = [
        encode(tokenizer, row.question, row.answer, own.max_length, row.where) for row in read_examples(path)
    ]
    epochs = math.ceil(own.steps / math.ceil(len(rows) / own.batch_size))
    plan = plan_batches([len(row.inputs) for row in rows], own.batch_size, epochs, seed)
    return Answers(rows, plan[: own.steps], tokenizer.pad_token_id)


def _run_stage(
    name: str, model: Any, batches: Batches, recipe: Recipe, work: Path, *, before: int
) -> list[dict[str, Any]]:
    """The log of the stage; the model holds its result. A stage that an earlier run finished is loaded."""
    from safetensors.torch import load_file, save_file

    done = work / f"{name}.log.json"
    weights = work / f"{name}.safetensors"
    log = finished_stage(done, weights)
    if log is not None:
        model.load_state_dict(load_file(weights), strict=False)  # tied weights are stored once
        return log
    steps = train_stage(model, batches, recipe, lambda step: _tell(work, before + step))
    model.to("cpu")
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del state["lm_head.weight"]
    save_file(state, weights)
    log = [{"stage": name, **step} for step in steps]
    seal = seal_stage(log, weights)
    done.with_suffix(".tmp").write_text(json.dumps({"log": log, "seal": seal}))
    done.with_suffix(".tmp").rename(done)
    shutil.rmtree(recipe.folder, ignore_errors=True)
    return log


def _tell(work: Path, step: int) -> None:
    """Note how far the run is, for whoever shows progress."""
    (work / _STEP).write_text(str(step))


def _names(log: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["stage"] for row in log))


def _ends(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The mean loss (nats a predicted token) of the first and of the last ten steps."""
    losses = [row["loss"] for row in rows]
    first, last = losses[:10], losses[-10:]
    return {"first": sum(first) / len(first), "last": sum(last) / len(last), "steps": len(rows)}


def _perplexity(model: Any, tokens: Path, settings: ScratchSettings) -> float | None:
    """exp(mean loss) on held-out documents, of at most eight batches; None when there is too little text."""
    import torch

    held = np.load(tokens / "held.npy")
    if len(held) <= settings.sequence:
        return None
    count = (len(held) - 1) // settings.sequence
    batch = min(settings.batch_size, count)
    windows = Text(Windows(held, batch, settings.sequence, min(_HELD_BATCHES, count // batch), 0))
    model.eval()
    with torch.inference_mode():
        losses = [float(batch_loss(model, windows[step])) for step in range(len(windows))]
    return math.exp(sum(losses) / len(losses))
