"""How far a family is, told by what lies in its directory. It checks no digest and starts nothing."""

from __future__ import annotations

from collections.abc import Iterator

from evals.family.config import BaseConfig, FamilyConfig
from evals.family.index import INDEX, read_index, runs_of
from evals.family.rows import MULTITASK
from evals.family.runs import with_built_runs
from evals.suites import load_suite
from pipeline.training.scratch.base import steps_file


def describe(config: FamilyConfig) -> Iterator[str]:
    """One line a base, and one for the index."""
    names = [*load_suite(config.held_in).categories, MULTITASK]
    config = with_built_runs(config)
    for base in config.bases:
        for run in config.runs(base):
            done = [name for name in names if config.expert_dir(base, name, run).is_dir()]
            what = f", run {run}:" if run else f": base {_base(config, base)},"
            yield f"{base.name}{what} {len(done)} of {len(names)} experts"
    if not (config.out / INDEX).is_file():
        yield "not scored"
        return
    for entry in read_index(config.out)["bases"]:
        for number, members in enumerate(runs_of(entry)):
            failed = [name for name, verdict in members["gate"].items() if not verdict["passed"]]
            words = f"not good enough: {', '.join(failed)}" if failed else "all passed"
            label = entry["name"] + (f", run {number}" if number else "")
            yield f"{label}: {len(members['experts'])} experts in the index, {words}"


def _base(config: FamilyConfig, base: BaseConfig) -> str:
    """What there is of a base."""
    if base.scratch is None:
        return "given"
    out = config.out / "bases" / base.name
    if out.is_dir():
        return "done"
    steps = steps_file(out)
    begun = steps.read_text() if steps.is_file() else ""
    return f"at step {begun} of {base.scratch.total_steps}" if begun else "to be made"
