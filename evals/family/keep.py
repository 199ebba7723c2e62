"""What the index of a family that is built size by size keeps of the sizes built before. Builds nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from evals.family.config import BaseConfig, FamilyConfig
from evals.family.index import INDEX, model_entry, models_of, read_index
from pipeline.errors import InputError


def with_other_sizes(
    index: Mapping[str, Any], config: FamilyConfig, report: Callable[[str], None]
) -> dict[str, Any]:
    """The index with the bases of the config that were not asked for, as the index before has them.

    Such a base is kept where all its models are there with the same weights, and its scores are of the same
    tasks; `report` is told about one that is not.
    """
    earlier = _earlier(config, report)
    others = {base.name: base for base in config.listed if base not in config.bases}
    kept = {}
    for base in earlier["bases"]:
        if base["name"] in others:
            why = _changed(base, others[base["name"]], earlier, index, config)
            if why:
                report(f"{base['name']} is in the index no more: {why}")
            else:
                kept[base["name"]] = base
    bases = kept | {base["name"]: base for base in index["bases"]}
    scores = [one for one in earlier["scores"] if one["base"] in kept] + index["scores"]
    order = {base.name: number for number, base in enumerate(config.listed)}
    return {
        **index,
        "bases": [bases[name] for name in order if name in bases],
        "scores": sorted(scores, key=lambda one: order[one["base"]]) if kept else index["scores"],
    }


def _earlier(config: FamilyConfig, report: Callable[[str], None]) -> dict[str, Any]:
    """The index that is there; one without bases where there is none of this family."""
    nothing: dict[str, Any] = {"bases": [], "scores": []}
    if len(config.bases) == len(config.listed) or not (config.out / INDEX).is_file():
        return nothing
    try:
        earlier = read_index(config.out)
    except InputError as error:
        report(f"nothing is kept of the index before: {error.what}")
        return nothing
    return earlier if earlier["name"] == config.name else nothing


def _changed(
    base: Mapping[str, Any],
    listed: BaseConfig,
    earlier: Mapping[str, Any],
    index: Mapping[str, Any],
    config: FamilyConfig,
) -> str:
    """Why the earlier index's words about a base do not hold any more; empty where they do."""
    if (base["size"], base["quality"]) != (listed.size, listed.quality):
        return "the config calls it otherwise"
    for name, model in models_of(base).items():
        now = model_entry(config.out / model["path"], config.out)
        if now["weights_digest"] != model["weights_digest"]:
            return f"{name} is not the model that was scored"
    digests = {(one["suite"], one["task"]): one["task_digest"] for one in index["scores"]}
    own = [one for one in earlier["scores"] if one["base"] == base["name"]]
    if _tasks(earlier) != _tasks(index) or any(
        digests.get((one["suite"], one["task"]), one["task_digest"]) != one["task_digest"] for one in own
    ):
        return "it was scored on other tasks"
    return ""


def _tasks(index: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(suite, category, task) of every task, in order."""
    return [
        (suite["name"], task["category"], task["task"])
        for suite in index["suites"]
        for task in suite["tasks"]
    ]
