"""Several bases at once: names, settings and one corpus in, one record a base out. Never picks an executor.

OUT/tokenizer/   learned from the corpus, shared by all bases
OUT/tokens/      the corpus as tokens
OUT/NAME/        a base
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.contract import Executor, Resources, Unit
from pipeline.errors import InputError
from pipeline.training.examples import read_examples
from pipeline.training.identity import finished
from pipeline.training.scratch.base import BaseSources, base_identity, base_unit, steps_file
from pipeline.training.scratch.corpus import tokenise
from pipeline.training.scratch.settings import ScratchSettings
from pipeline.training.scratch.tokenizer import make_tokenizer
from pipeline.training.watch import failure, placed, run_watched

#: Weight, gradient, two moments and a copy, in fp32; logits and activations of a batch beside them.
_BYTES_PER_PARAMETER = 24
_BYTES_PER_LOGIT = 16
_FIXED_BYTES = 700 << 20


@dataclass(frozen=True)
class BasesPlan:
    """What is left to do: a unit for every base that is not finished.

    steps: by name, of all bases.  records: of the bases that are finished.
    """

    out: Path
    units: Mapping[str, Unit]
    steps: Mapping[str, int]
    records: Mapping[str, dict[str, Any]]


def plan_bases(
    bases: Mapping[str, ScratchSettings],
    corpus: Path,
    vocab: int,
    out: Path,
    instruct: Path | None = None,
    device: str = "cpu",
) -> BasesPlan:
    """Check everything, then make the tokenizer and the tokens if they are not there yet.

    corpus: JSONL of {"text"}.  instruct: JSONL of choice rows, needed where a base has a second stage.
    device: where bases are trained, "cpu" or "cuda".
    InputError or one of its kinds for whatever is wrong.
    """
    needing = [name for name, settings in bases.items() if settings.instruct]
    if needing and instruct is None:
        raise InputError("an instruct stage without rows", where=", ".join(needing), hint="give choice rows")
    if needing and instruct is not None:
        read_examples(instruct)
    tokenizer, tokens = out / "tokenizer", out / "tokens"
    size = make_tokenizer(corpus, vocab, tokenizer)["tokens"]
    tokenise(corpus, tokenizer, tokens)
    sources = BaseSources(tokens, tokenizer, instruct)
    units, records = {}, {}
    for name, settings in bases.items():
        done = finished(out / name, base_identity(sources, settings))
        if done is not None:
            records[name] = done
            continue
        payload = {
            "tokens": str(tokens.resolve()),
            "tokenizer": str(tokenizer.resolve()),
            "instruct": str(instruct.resolve()) if instruct is not None else "",
            "out": str((out / name).resolve()),
            "settings": settings.as_dict(),
            "device": device,
        }
        needs = Resources(cpus=1.0, gpus=float(device == "cuda"), memory_bytes=_memory_bytes(settings, size))
        units[name] = Unit(f"base/{name}", base_unit, payload, needs)
    return BasesPlan(out, units, {name: one.total_steps for name, one in bases.items()}, records)


def _memory_bytes(settings: ScratchSettings, vocab: int) -> int:
    """About what one base takes while it trains."""
    logits = settings.batch_size * settings.sequence * vocab
    weights = settings.architecture.parameters(vocab)
    return _FIXED_BYTES + _BYTES_PER_PARAMETER * weights + _BYTES_PER_LOGIT * logits


def run_bases(
    plan: BasesPlan, executor: Executor, *, show_progress: bool = True
) -> dict[str, dict[str, Any]]:
    """Make what is left, the longest first; return the record of every base by name.

    All bases are tried. Raises UnitError that names every one that failed; what was finished is kept, and
    what was begun is gone on with by the next run.
    """
    order = sorted(plan.units, key=lambda name: -plan.units[name].resources.memory_bytes)
    made, failed = run_watched(
        {name: placed(plan.units[name], executor) for name in order},
        plan.steps,
        executor,
        last_step=lambda name: _last_step(plan.out / name),
        describe=describe_base,
        label="pretraining",
        show_progress=show_progress,
    )
    records = {**plan.records, **made}
    if failed:
        raise failure(failed, "bases could not be made")
    return {name: records[name] for name in plan.steps}


def describe_base(name: str, record: Mapping[str, Any]) -> str:
    """One line about a finished base."""
    held = record["held_perplexity"]
    losses = ", ".join(
        f"{stage} loss {ends['first']:.2f} -> {ends['last']:.2f}" for stage, ends in record["losses"].items()
    )
    held_text = f", held-out perplexity {held:.1f}" if held is not None else ""
    size = f"{record['parameters'] / 1e6:.2f}M parameters, {record['tokens_read'] / 1e6:.2f}M tokens"
    return f"{name}: {size}, {losses}{held_text}, {record['elapsed_s']:.0f} s"


def _last_step(out: Path) -> int:
    """The last step of the base being made for `out`; 0 before its first."""
    try:
        text = steps_file(out).read_text()
    except FileNotFoundError:
        return 0
    return int(text) if text.isdecimal() else 0  # empty while it is being written
