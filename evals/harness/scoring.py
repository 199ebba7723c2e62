"""A model's answers to a task, and the record lm-eval's scores of them make.

Answering and scoring are two steps, so that the answers may come from several workers; lm-eval computes the
scores from all of them, in the documents' order. Scores are lm-eval's own; standard errors are computed here.
"""

from __future__ import annotations

import platform
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from evals.content import Digests, task_digest
from evals.harness.backend import ask
from evals.harness.baselines import Guesser, answerable
from evals.harness.parts import (
    Answers,
    Replay,
    forget_requests,
    generation_settings,
    joined,
    requests_of,
    share,
)
from evals.harness.quiet import quiet
from evals.harness.spending import spending
from evals.harness.tasks import load_task
from evals.models import Model, describe_model
from evals.record import Record, names_of
from evals.setting import Setting
from evals.stderr import bootstrap_stderr, mean_stderr
from evals.task import Task
from pipeline.errors import ConfigError, RunError

#: lm-eval's own defaults (lm_eval --seed 0,1234,1234,1234): the numbers depend on them where shots are drawn.
PYTHON_SEED, OTHER_SEED = 0, 1234


@dataclass(frozen=True)
class Part:
    """What one worker answered: by request type and position; documents that were cut; seconds it took."""

    answers: Answers
    truncated: frozenset[int]
    elapsed_s: float

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON; floats survive to the last bit."""
        answers = {kind: [[at, one] for at, one in found.items()] for kind, found in self.answers.items()}
        return {"answers": answers, "truncated": sorted(self.truncated), "elapsed_s": self.elapsed_s}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Part:
        """What `to_dict` gave."""
        answers = {
            kind: {at: tuple(one) if isinstance(one, list) else one for at, one in found}
            for kind, found in values["answers"].items()
        }
        return cls(answers, frozenset(values["truncated"]), float(values["elapsed_s"]))


def evaluate_model(model: Model | Path | str, tasks: Sequence[Task], setting: Setting) -> list[Record]:
    """One record a task, in their order. The data of the tasks must be located (`suites.locate_data`).

    Sets torch's thread count and reseeds Python's, numpy's and torch's generators, as lm-eval does.
    CheckpointError: no model there, or none that can be loaded. ConfigError: a task lm-eval refuses.
    RunError: logits or a score that are no number.
    """
    if not isinstance(model, Model):
        model = describe_model(Path(model), Digests())
    return [score(model, task, setting) for task in tasks]


def score(model: Model, task: Task, setting: Setting) -> Record:
    """One model on one whole task. Errors as `evaluate_model`."""
    return score_together(model, task, setting, [score_part(model, task, setting, 0, 1)])


def score_part(model: Model, task: Task, setting: Setting, part: int, parts: int) -> Part:
    """The model's answers to part number `part` of `parts` of a task. Errors as `evaluate_model`."""
    loaded = load_task(task, task_digest(task, Digests()))
    limit = setting.items(task)
    lm = _answering(model, setting, loaded, limit)
    _seed(loaded)
    answers: Answers = {}
    truncated: set[int] = set()
    with quiet(), spending("score", model.label):
        requests = requests_of(loaded, limit)
        started = time.monotonic()
        for kind, asked in requests.items():
            own = share(lm, kind, asked, part, parts)
            mine = [asked[position] for position in own]
            given = ask(lm, kind, mine, model.label) if mine else []
            answers[kind] = dict(zip(own, given, strict=True))
            truncated |= {one.doc_id for one in mine if _too_long(lm, one.args)}
    return Part(answers, frozenset(truncated), time.monotonic() - started)


def score_together(model: Model, task: Task, setting: Setting, parts: Sequence[Part]) -> Record:
    """The record that the answers of all parts of a task make. Needs no model in memory."""
    digest = task_digest(task, Digests())
    loaded = load_task(task, digest)
    answer = _by_lm_eval(Replay(joined([part.answers for part in parts])), task, loaded, setting.items(task))
    name = f"{task.metric},{task.filter}"
    if name not in answer["results"][task.name]:
        raise ConfigError(f'lm-eval gave no metric "{name}"', where=task.where)
    value = float(answer["results"][task.name][name])
    if not np.isfinite(value):
        raise RunError(
            "the score is not a finite number", where=f"{model.label}, {task.name}", found=str(value)
        )
    samples = [one for one in answer["samples"][task.name] if one["filter"] == task.filter]
    scores = [one[task.metric] for one in sorted(samples, key=_document) if task.metric in one]
    items, stderr = _items(scores, value, loaded.aggregation().get(task.metric))
    return Record(
        **names_of(model, task),
        model_digest=model.digest,
        task_digest=digest,
        shots=task.shots,
        limit=setting.items(task),
        metric=task.metric if task.filter == "none" else name,
        value=value,
        stderr=stderr,
        n=len(scores),
        truncated=len(frozenset().union(*(part.truncated for part in parts))),
        elapsed_s=round(sum(part.elapsed_s for part in parts), 3),
        machine=platform.node(),
        device=setting.device,
        dtype=setting.dtype,
        batch_size=setting.batch_size,
        mergescale=version("mergescale"),
        lm_eval=version("lm_eval"),
        items=items,
    )


def _answering(model: Model, setting: Setting, loaded: Any, limit: int | None) -> Any:
    """What answers in the model's name: a loaded language model, or a guesser."""
    if not model.baseline:
        from evals.harness.backend import load_lm

        return load_lm(model, setting)
    if not answerable(loaded):
        raise ConfigError("a baseline cannot answer this task", where=model.label, found=loaded.OUTPUT_TYPE)
    docs = [doc for _, doc in loaded.doc_iterator(rank=0, limit=limit, world_size=1)]
    return Guesser(model.baseline, loaded, docs)


def _seed(loaded: Any) -> None:
    """Every generator as lm-eval seeds it, whatever ran before; a loaded task's draws must start again."""
    import torch

    random.seed(PYTHON_SEED)
    np.random.seed(OTHER_SEED)
    torch.manual_seed(OTHER_SEED)
    loaded.set_fewshot_seed(seed=OTHER_SEED)


def _by_lm_eval(answers: Replay, task: Task, loaded: Any, limit: int | None) -> Any:
    """lm-eval's results and samples for one loaded task."""
    from lm_eval import evaluate

    _seed(loaded)
    with quiet():
        found = evaluate(
            lm=answers,
            task_dict={"tasks": {task.name: loaded}},
            limit=limit,
            bootstrap_iters=0,
            log_samples=True,
        )
    forget_requests(loaded)
    return found


def _too_long(lm: Any, request: tuple[Any, ...]) -> bool:
    """Whether a request is longer than the model takes; lm-eval then cuts it from the left.

    A request is (prompt, continuation) or (prompt, generation arguments); whole texts (one field) are read in
    windows and never cut. A text has at most a token a byte and two at its ends: short ones are not encoded.
    """
    if len(request) < 2 or isinstance(lm, Guesser):
        return False
    prompt, rest = request[:2]
    text, room = prompt, lm.max_length
    if lm.backend == "causal":  # the answer shares the room; an encoder leaves it to the decoder
        if isinstance(rest, str):
            text, room = prompt + rest, lm.max_length + 1
        else:
            room -= generation_settings(rest, lm.max_gen_toks)["max_gen_toks"]
    return len(text.encode()) + 2 > room and bool(len(lm.tok_encode(text)) > room)


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
