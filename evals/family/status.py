"""How far a family is, told by what lies in its directory. It checks no digest and starts nothing."""

from __future__ import annotations

from collections.abc import Iterator

from evals.family.config import BaseConfig, FamilyConfig
from evals.family.index import INDEX, read_index
from evals.family.rows import MULTITASK
from evals.suites import load_suite
from pipeline.training.scratch.base import steps_file


def describe(config: FamilyConfig) -> Iterator[str]:
    """One line a base, and one for the index."""
    names = [*load_suite(config.held_in).categories, MULTITASK]
    for base in config.bases:
        done = [name for name in names if config.expert_dir(base, name).is_dir()]
        yield f"{base.name}: base {_base(config, base)}, {len(done)} of {len(names)} experts"
    if not (config.out / INDEX).is_file():
        yield "not scored"
        return
    for entry in read_index(config.out)["bases"]:
        failed = [name for name, verdict in entry["gate"].items() if not verdict["passed"]]
        words = f"not good enough: {', '.join(failed)}" if failed else "all passed"
        yield f"{entry['name']}: {len(entry['experts'])} experts in the index, {words}"


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
