"""Find out, before a model answers, whether a task's metric functions give the metric that is asked for."""

from __future__ import annotations

from typing import Any

from evals.harness.quiet import quiet
from evals.task import Task, functions_of
from pipeline.errors import ConfigError, near


def check_named(task: Task, loaded: Any) -> None:
    """Score the first document's target as if a model had given it, and look at the names of the scores.

    A metric function may give names of its own, as one for pass@k gives "pass@1". What cannot be scored so is
    left to the scoring itself.

    Raises:
        ConfigError: with the names that are given: none is the task's metric.
    """
    if not functions_of(task.definition):
        return
    doc = loaded.eval_docs[0]
    try:
        with quiet():
            target = loaded.doc_to_target(doc)
            given = [str(name) for name in loaded.process_results(doc, [target])]
    except Exception:  # noqa: BLE001 - a user's function, which may want answers of another form
        return
    if task.metric not in given:
        raise ConfigError(
            f'the metric functions of the task "{task.name}" give no "{task.metric}"',
            where=task.where,
            expected=" or ".join(given),
            found=task.metric,
            hint=near(task.metric, given),
        )
