"""Evaluating a model directory with lm-eval: the only importer of lm_eval, and it never leaks its types.

lm-eval is imported when a function is called. A model and loaded tasks are kept between calls in one process,
by content, so that many units on one worker load each once. Scores are those of lm-eval's own command line,
to the last digit; standard errors are computed here, from the items.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import logging
import platform
import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np

from evals.content import Digests, task_digest
from evals.definitions import FunctionRef
from evals.models import Model, describe_model
from evals.record import Record
from evals.setting import Setting
from evals.stderr import bootstrap_stderr, mean_stderr
from evals.task import Task, data_builder
from pipeline.checkpoint.files import digest_file
from pipeline.errors import ConfigError, RunError

#: lm-eval's own defaults (lm_eval --seed 0,1234,1234,1234): the numbers depend on them where shots are drawn.
PYTHON_SEED, OTHER_SEED = 0, 1234
_KEPT_TASKS = 64
_BAR = re.compile(r"%\||/s\]\s*$")
_models: dict[tuple[str, str, str, str, int], Any] = {}
_tasks: dict[tuple[str, int], Any] = {}


def evaluate_model(model: Model | Path | str, tasks: Sequence[Task], setting: Setting) -> list[Record]:
    """One record a task, in their order. The data of the tasks must be located (`suites.locate_data`).

    Sets torch's thread count and reseeds Python's, numpy's and torch's generators, as lm-eval does.
    CheckpointError: no model there. ConfigError: a task lm-eval refuses. RunError: a score that is no number.
    """
    digests = Digests()
    if not isinstance(model, Model):
        model = describe_model(Path(model), digests)
    return [_measure(model, task, task_digest(task, digests), setting) for task in tasks]


def check_tasks(tasks: Sequence[Task]) -> None:
    """Load every task's definition and data, no model. ConfigError names the first that lm-eval refuses."""
    digests = Digests()
    for task in tasks:
        _load_task(task, task_digest(task, digests))


def _measure(model: Model, task: Task, digest: str, setting: Setting) -> Record:
    """Run one task and turn lm-eval's answer into a record."""
    loaded = _load_task(task, digest)
    lm = _load_model(model, setting)
    started = time.monotonic()
    answer = _run(lm, loaded, setting.items(task))
    elapsed_s = time.monotonic() - started
    name = f"{task.metric},{task.filter}"
    if name not in answer["results"][task.name]:
        raise ConfigError(f'lm-eval gave no metric "{name}"', where=task.where)
    value = float(answer["results"][task.name][name])
    if not np.isfinite(value):
        raise RunError(
            "the score is not a finite number", where=f"{model.path}, {task.name}", found=str(value)
        )
    samples = [one for one in answer["samples"][task.name] if one["filter"] == task.filter]
    scores = [one[task.metric] for one in sorted(samples, key=_document) if task.metric in one]
    items, stderr = _items(scores, value, loaded[task.name].aggregation().get(task.metric))
    return Record(
        model=model.path,
        model_digest=model.digest,
        label=model.label,
        base=model.base,
        method=model.method,
        suite=task.suite,
        role=task.role,
        category=task.category,
        task=task.name,
        task_version=task.version,
        task_digest=digest,
        shots=task.shots,
        limit=setting.items(task),
        metric=task.metric if task.filter == "none" else name,
        higher_is_better=task.higher_is_better,
        chance=task.chance,
        value=value,
        stderr=stderr,
        n=len(scores),
        truncated=sum(_too_long(lm, one["arguments"]) for one in samples),
        elapsed_s=round(elapsed_s, 3),
        machine=platform.node(),
        device=setting.device,
        dtype=setting.dtype,
        batch_size=setting.batch_size,
        mergescale=version("mergescale"),
        lm_eval=version("lm_eval"),
        items=items,
    )


def _too_long(lm: Any, requests: Sequence[tuple[Any, ...]]) -> bool:
    """Whether a request of an item is longer than the model takes; lm-eval then cuts it from the left.

    A request is (prompt, continuation) or (prompt, generation arguments); whole texts (one field) are read in
    windows and never cut. A text has at most a token a byte and two at its ends: short ones are not encoded.
    """
    for prompt, rest in (request[:2] for request in requests if len(request) > 1):
        text, room = (prompt + rest, lm.max_length + 1) if isinstance(rest, str) else (prompt, lm.max_length)
        if isinstance(rest, Mapping):
            room -= int(rest.get("max_gen_toks", lm.max_gen_toks))
        if len(text.encode()) + 2 > room and len(lm.tok_encode(text)) > room:
            return True
    return False


def _document(sample: Mapping[str, Any]) -> int:
    return int(sample["doc_id"])


def _items(
    scores: list[Any], value: float, aggregate: Callable[[list[Any]], float] | None
) -> tuple[tuple[float, ...], float | None]:
    """(score of each item, standard error of the task's score).

    A score that is the mean of its items gets the closed form, any other a bootstrap over items. Metrics
    whose items are not numbers (pairs of gold and guess, for F1) keep none.
    """
    numbers = all(isinstance(score, bool | int | float | np.number) for score in scores)
    items = tuple(float(score) for score in scores) if numbers else ()
    if items and np.isclose(sum(items) / len(items), value, rtol=1e-12, atol=0.0):
        return items, mean_stderr(items)
    return items, bootstrap_stderr(scores, aggregate) if aggregate is not None else None


def _run(lm: Any, loaded: dict[str, Any], limit: int | None) -> Any:
    """lm-eval's answer for one loaded task, from the same seeds whatever ran before."""
    import torch
    from lm_eval import evaluate

    random.seed(PYTHON_SEED)
    np.random.seed(OTHER_SEED)
    torch.manual_seed(OTHER_SEED)
    for task in loaded.values():
        task.set_fewshot_seed(seed=OTHER_SEED)  # a loaded task is used again: its draws must start again
    with _without_bars():
        return evaluate(lm=lm, task_dict={"tasks": loaded}, limit=limit, bootstrap_iters=0, log_samples=True)


def _load_model(model: Model, setting: Setting) -> Any:
    """The model as lm-eval holds it. One is kept: the next model takes its place before it is loaded."""
    import torch

    torch.set_num_threads(setting.threads)
    key = (model.digest, setting.device, setting.dtype, setting.batch_size, setting.threads)
    if key not in _models:
        from lm_eval.models.huggingface import HFLM

        _models.clear()
        with _without_bars():
            _models[key] = HFLM(
                pretrained=model.path,
                device=setting.device,
                dtype=setting.dtype,
                batch_size=_batch_size(setting),
            )
    return _models[key]


def _batch_size(setting: Setting) -> int | str:
    return int(setting.batch_size) if setting.batch_size.isdecimal() else setting.batch_size


def _load_task(task: Task, digest: str) -> dict[str, Any]:
    """{name: lm-eval task} with its data in memory; kept by content. ConfigError when lm-eval refuses it."""
    key = (digest, task.shots)
    if key not in _tasks:
        from lm_eval.tasks import TaskManager

        with TemporaryDirectory(prefix="mergescale-data-") as folder, _without_bars():
            try:
                config = _resolved(dict(task.definition)) | _data_set(task, folder)
                config |= {"task": task.name, "num_fewshot": task.shots}
                found = TaskManager(include_defaults=False).load([config])["tasks"]
            except Exception as error:  # a definition runs templates and functions of its own
                raise ConfigError(
                    f'lm-eval cannot load the task "{task.name}"',
                    where=task.where,
                    found=f"{type(error).__name__}: {error}",
                    hint="compare the definition's columns and splits with the data",
                ) from error
        while len(_tasks) >= _KEPT_TASKS:
            _tasks.pop(next(iter(_tasks)))
        _tasks[key] = found
    found = _tasks[key]
    return {task.name: next(iter(found.values()))}


def _data_set(task: Task, folder: str) -> dict[str, Any]:
    """The data-set keys of the definition: local files, read into memory through a cache that is thrown away.

    The cache of `datasets` knows files by time and size, so it could serve old rows: nothing is left in it.
    """
    if not task.data:
        return {}
    files = {split: list(names) for split, names in task.data}
    arguments = {"data_files": files, "cache_dir": folder, "keep_in_memory": True}
    return {
        "dataset_path": data_builder(task.data[0][1][0]),
        "dataset_name": None,
        "dataset_kwargs": arguments,
    }


def _resolved(value: Any) -> Any:
    """A definition with every `FunctionRef` turned into the function it names."""
    if isinstance(value, dict):
        return {key: _resolved(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    return _function(value) if isinstance(value, FunctionRef) else value


def _function(reference: FunctionRef) -> Any:
    """The function itself, from the Python file beside the definition or from an importable module."""
    module_name, _, name = reference.name.rpartition(".")
    file = reference.file()
    if file is not None and not reference.bundled:
        return getattr(_module(file), name)
    if file is not None:
        module_name = ".".join(["lm_eval", "tasks", *Path(reference.folder).parts, module_name])
    return getattr(importlib.import_module(module_name), name)


def _module(file: Path) -> ModuleType:
    """A user's Python file as a module; named by its bytes, so that a changed file is a new module."""
    name = f"mergescale_task_{digest_file(file)}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"cannot import {file}")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep lm-eval's progress bars and notes off the screen; what else is written comes through.

    Its notes are about defaults that suites have checked, and about cut prompts, which records count.
    """
    held = io.StringIO()
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stderr(held):
            yield
    finally:
        logger.setLevel(level)
        lines = held.getvalue().replace("\r", "\n").splitlines()
        for line in lines:
            if line.strip() and not _BAR.search(line):
                print(line, file=sys.stderr)
