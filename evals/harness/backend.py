"""Models as lm-eval holds them: loaded once a worker and kept until another is asked for.

The backend is Hugging Face transformers through lm-eval's own HFLM; a model comes from a directory or from a
merge that is held in memory. Nothing here knows a task.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from evals.harness.quiet import quiet
from evals.harness.spending import spending
from evals.models import Model
from evals.setting import Setting
from pipeline.checkpoint.nonfinite import in_lines
from pipeline.errors import CheckpointError, RunError, shown
from pipeline.plan.plan import MergePlan
from pipeline.training.loading import load_config, load_tokenizer, load_weights
from pipeline.untrusted import read_json

_kept: dict[tuple[Any, ...], Any] = {}
_merged: dict[str, list[dict[str, Any]]] = {}
_looked_at: set[str] = set()
_refused: dict[tuple[Any, ...], CheckpointError] = {}


def load_lm(model: Model, setting: Setting) -> Any:
    """The model as an lm-eval LM. One is kept: the next model takes its place before it is loaded.

    Sets torch's thread count. CheckpointError: it cannot be loaded, or has no tokenizer. What was found wrong
    with its weights is said again without reading them again: every task of the model asks.
    """
    import torch
    import transformers  # noqa: F401 (before `quiet`, which asks for it)

    torch.set_num_threads(setting.threads)
    key = (model.digest, replace(setting, limit=None))
    if key not in _kept:
        _kept.clear()
        if model.merge is None:
            _merged.clear()  # the merges of the group before have had their turn
        refused = (*key, model.path)  # an error names the place, and a copy of the model has another
        if refused in _refused:
            raise copy(_refused[refused])
        try:
            with quiet():
                lm = _from_merge(model, setting) if model.merge else _from_directory(model, setting)
        except CheckpointError as error:
            if not isinstance(error.__cause__, OSError):  # that may be a disk's, and pass
                _refused[refused] = copy(error)  # without its traceback, which holds the weights
            raise
        lm.model.register_forward_hook(_Watch(model.label))
        _kept[key] = lm
    return _kept[key]


class _Watch:
    """A hook that stops a model whose logits are not numbers: lm-eval would turn them into a score."""

    def __init__(self, label: str) -> None:
        self._label = label

    def __call__(self, _module: Any, _inputs: Any, output: Any) -> None:
        # A place's maximum is NaN where any logit is. Minus infinity is a token that never comes, and right,
        # unless no token may come there.
        if not bool(output.logits.amax(-1).isfinite().all()):
            raise RunError(
                "the model's logits are not numbers (NaN or Inf)",
                where=self._label,
                hint="look for NaN or Inf in its weights; a merge with too large a weight overflows",
            )


def _from_directory(model: Model, setting: Setting) -> Any:
    """HFLM over the model's directory."""
    with spending("load", model.label, model.weights_bytes):
        return _hflm(model, setting, Path(model.path))


def _from_merge(model: Model, setting: Setting) -> Any:
    """HFLM over a merge that this worker holds in memory, computed now unless a sibling's was just before."""
    from pipeline.checkpoint.companions import write_companions

    assert model.merge is not None
    weights = _merged_weights(model)
    with TemporaryDirectory(prefix="mergescale-model-") as folder:
        write_companions(model.merge.companions, Path(folder))
        how = {"weights": weights, "generation_config": _generation_settings(Path(folder))}
        return _hflm(model, setting, Path(folder), **how)


def _generation_settings(folder: Path) -> Any:
    """How the model generates, as transformers reads it where it loads from a path: generation_config.json,
    else what an old config.json says of it.
    """
    from transformers import GenerationConfig

    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder)
    return GenerationConfig.from_model_config(read_json(folder / "config.json"))


def _merged_weights(model: Model) -> dict[str, Any]:
    """The merge's tensors by name. All merges of its group are computed together, from one read."""
    assert model.merge is not None
    group = model.merge.group
    if group not in _merged:
        _merged.clear()
        plans = model.merge.plans
        with spending("merge", model.label, _read_bytes(plans)):
            _merged[group] = merged_together(plans)
    weights = dict(_merged[group][model.merge.position])
    _warn_of_nonfinite(model, weights)
    return weights


def _warn_of_nonfinite(model: Model, weights: Mapping[str, Any]) -> None:
    """Say on this worker's stderr, once for each merge, which of its tensors hold NaN or Inf: its scores may
    still be numbers.
    """
    from pipeline.work.holding import nonfinite_in

    assert model.merge is not None
    if model.digest in _looked_at:
        return
    _looked_at.add(model.digest)
    for line in in_lines(nonfinite_in(model.merge.plan, weights)):
        print(f"warning: {shown(model.label)}: {line}", file=sys.stderr)


def _read_bytes(plans: Sequence[MergePlan]) -> int:
    """The bytes of the weights that a group of merges reads, each file once."""
    files = {file.path: file.size_bytes for plan in plans for index in plan.indexes for file in index.files}
    return sum(files.values())


def merged_together(plans: Sequence[MergePlan]) -> list[dict[str, Any]]:
    """The tensors of each plan's model, computed from one read; see `holding.merge_in_memory`."""
    from pipeline.work.holding import merge_in_memory

    return merge_in_memory(plans)


def _hflm(model: Model, setting: Setting, folder: Path, **how: Any) -> Any:
    """lm-eval's Hugging Face model. Several devices a replica: its layers are spread over them.

    lm-eval decides by config.json which architecture answers: a decoder, or an encoder with its decoder.
    """
    from lm_eval.models.huggingface import HFLM

    if setting.devices > 1:
        how["device_map"] = "auto"
    deciding = HFLM.__new__(HFLM)
    deciding._get_backend(config=load_config(folder, model.path))
    tokenizer = load_tokenizer(folder, model.path)
    loaded = load_weights(deciding.AUTO_MODEL_CLASS, folder, model.path, setting.dtype, **how)
    if setting.devices == 1:
        loaded = loaded.to(setting.device)
    size = int(setting.batch_size) if setting.batch_size.isdecimal() else setting.batch_size
    return HFLM(pretrained=loaded.eval(), backend=deciding.backend, tokenizer=tokenizer, batch_size=size)


def ask(lm: Any, kind: str, requests: Sequence[Any], label: str) -> list[Any]:
    """The model's answers to requests of one kind. CheckpointError: the tokenizer is not the model's."""
    try:
        answers: list[Any] = getattr(lm, kind)(requests)
    except IndexError as error:  # a token without a row in the embedding matrix
        rows = lm.model.get_input_embeddings().num_embeddings
        raise CheckpointError(
            "the tokenizer gives tokens that the model does not have",
            where=label,
            found=f"{len(lm.tokenizer)} tokens for {rows} embeddings",
            hint="put the tokenizer files of the model's own base into its directory",
        ) from error
    return answers
