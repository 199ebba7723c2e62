"""The units of work of an evaluation: check a task, answer it whole or in part, score the parts together.

Module-level functions and small payloads, as executors want them; lm-eval loads where they run. Units of one
model share its affinity, so that a worker loads the model once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cluster.contract import Resources, Unit
from evals.models import Model
from evals.setting import Setting
from evals.task import Task

if TYPE_CHECKING:
    from evals.harness import Part
    from evals.record import Record

#: What a worker needs besides the weights: libraries and one batch of logits.
_WORKER_BYTES = 2 << 30


def check_unit(name: str, task: Task, number: int, needs: Resources) -> Unit:
    """Load the task and its data, no model. Value: "items", "output_type". `number`: the worker to prefer."""
    return Unit(name, check, {"task": task}, needs, affinity=f"check/{number}")


def answer_unit(
    name: str, model: Model, task: Task, setting: Setting, needs: Resources, part: int = 0, parts: int = 1
) -> Unit:
    """The model's answers to a task: its record where they are all, else one part's answers, as "answer";
    what that cost, piece by piece, as "spent".
    """
    payload = {"model": model, "task": task, "setting": setting, "part": part, "parts": parts}
    return Unit(name, answer, payload, needs, affinity=model.affinity)


def score_unit(
    name: str,
    model: Model,
    task: Task,
    setting: Setting,
    needs: Resources,
    parts: Sequence[Mapping[str, Any]],
) -> Unit:
    """The record that the answers of all parts make."""
    payload = {"model": model, "task": task, "setting": setting, "parts": list(parts)}
    return Unit(name, together, payload, needs, affinity=model.affinity)


def resources(models: Sequence[Model], setting: Setting, executor: str) -> Resources:
    """What a worker occupies that can take any of the models: one shape for all, so that workers are kept.

    Only Ray hands out GPUs; local workers share those they see.
    """
    # float32 may be twice the stored size; a fifth is for what loading needs for a moment.
    grown = 2.2 if setting.dtype == "float32" else 1.2
    memory_bytes = max(_held_bytes(model, grown) for model in models) + _WORKER_BYTES
    on_gpu = setting.device.startswith("cuda") and executor == "ray"
    return Resources(setting.threads, float(setting.devices) if on_gpu else 0.0, memory_bytes)


def _held_bytes(model: Model, grown: float) -> int:
    """The model in memory, and the merges of its group that wait for their turn."""
    waiting = model.weights_bytes * model.merge.members if model.merge is not None else 0
    return int(grown * model.weights_bytes) + waiting


def check(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run a `check_unit`."""
    from evals.harness import check_task

    return vars(check_task(payload["task"])).copy()


def answer(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run an `answer_unit`: the record or the part's answers as plain data, and what they cost."""
    from evals.harness import score, score_part, take_spent

    model, task, setting = payload["model"], payload["task"], payload["setting"]
    whole = payload["parts"] == 1
    given: Record | Part = (
        score(model, task, setting)
        if whole
        else score_part(model, task, setting, payload["part"], payload["parts"])
    )
    return {"answer": given.to_dict(), "spent": take_spent()}


def together(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run a `score_unit`: the record as plain data."""
    from evals.harness import Part, score_together

    parts = [Part.from_dict(part) for part in payload["parts"]]
    return score_together(payload["model"], payload["task"], payload["setting"], parts).to_dict()
