"""What is said at the end of a run that could not measure everything. It raises nothing itself."""

from __future__ import annotations

from collections.abc import Sequence

from evals.fanout import Evaluation, Failure
from pipeline.errors import LIST_ITEM, RunError


def incomplete(evaluation: Evaluation) -> RunError | None:
    """The error for scores that failed, each reason once; None where none did."""
    if not evaluation.failures:
        return None
    count = len(evaluation.failures)
    return RunError(
        f"{count} of {count + len(evaluation.records)} scores could not be measured",
        where=LIST_ITEM.join(reasons(evaluation.failures)),
        hint="what is mended is measured by the same command",
    )


def reasons(failures: Sequence[Failure]) -> list[str]:
    """One line a reason, with all the models and tasks that have it: "a, b on suite/x, suite/y: why"."""
    tasks: dict[tuple[str, str], list[str]] = {}
    for one in failures:
        tasks.setdefault((one.label, one.reason), []).append(f"{one.suite}/{one.task}")
    labels: dict[tuple[str, str], list[str]] = {}
    for (label, reason), names in tasks.items():
        labels.setdefault((", ".join(names), reason), []).append(label)
    return [f"{', '.join(who)} on {names}: {reason}" for (names, reason), who in labels.items()]
