"""What a family's index holds, as plain data: suites, bases with their runs, scores. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.family.config import BaseConfig, FamilyConfig
from evals.family.gate import Verdict
from evals.family.index import SCHEMA, label_in_run, model_entry
from evals.family.rows import MULTITASK
from evals.models import BASELINES, Model
from evals.record import Record
from evals.suites import Suite
from pipeline.checkpoint.files import digest_file
from pipeline.checkpoint.index import read_directory
from pipeline.values import ModelRef

#: What the base itself is called among the models of a base.
BASE = "base"
#: (base, run) -> category -> what the gate says of that expert.
Gate = Mapping[tuple[str, int], Mapping[str, Verdict]]
_SCORE = (
    *("suite", "role", "category", "task", "metric", "value", "stderr", "n"),
    *("task_digest", "model_digest"),
)


@dataclass(frozen=True)
class FamilyMember:
    """A model of the family: which base it belongs to, what it is ("base", "multitask" or a category), and
    of which run.
    """

    base: str
    name: str
    run: int
    model: Model

    @property
    def label(self) -> str:
        """Its name in tables and records."""
        return label_in_run(f"{self.base}/{self.name}", self.run)


def make_index(
    config: FamilyConfig,
    suites: Sequence[Suite],
    members: Sequence[FamilyMember],
    records: Sequence[Record],
    gate: Gate,
) -> dict[str, Any]:
    """The index of the models that are there and their scores."""
    by_label = {member.label: member for member in members}
    return {
        "schema": SCHEMA,
        "name": config.name,
        "config": {"path": str(config.file), "digest": digest_file(config.file)},
        "suites": [_suite_entry(suite, records) for suite in suites],
        "bases": [_base_entry(config, base, by_label, gate) for base in config.bases],
        "scores": [
            _score_entry(by_label[record.label], record) for record in records if not record.is_baseline
        ],
    }


def _suite_entry(suite: Suite, records: Sequence[Record]) -> dict[str, Any]:
    """One suite with what guessers score on its tasks."""
    guessed = {(one.model, one.suite, one.task): one.value for one in records if one.is_baseline}
    return {
        "name": suite.name,
        "role": suite.role,
        "file": str(suite.file),
        "tasks": [
            {
                "category": task.category,
                "task": task.name,
                "metric": task.metric,
                "chance": task.chance,
                **{kind: guessed.get((kind, suite.name, task.name)) for kind in BASELINES},
            }
            for task in suite.tasks
        ],
        "left_out": [one.task for one in suite.left_out],
    }


def _base_entry(
    config: FamilyConfig, base: BaseConfig, members: Mapping[str, FamilyMember], gate: Gate
) -> dict[str, Any]:
    """One base with what was made of it: run 0 beside its name, further runs under "runs"."""
    place = Path(members[f"{base.name}/{BASE}"].model.path)
    first, *further = (_run_entry(config, base, run, members, gate) for run in config.runs(base))
    return {
        "name": base.name,
        "size": base.size,
        "quality": base.quality,
        "parameters": sum(
            entry.spec.numel for entry in read_directory(ModelRef(str(place)), place).tensors.values()
        ),
        **model_entry(place, config.out),
        **first,
        "runs": [{"run": number, **entry} for number, entry in enumerate(further, start=1)],
    }


def _run_entry(
    config: FamilyConfig, base: BaseConfig, run: int, members: Mapping[str, FamilyMember], gate: Gate
) -> dict[str, Any]:
    """The models of one run; `experts` are those that passed."""

    def entry(name: str) -> dict[str, str] | None:
        member = members.get(label_in_run(f"{base.name}/{name}", run))
        return model_entry(Path(member.model.path), config.out) if member is not None else None

    verdicts = gate[base.name, run]
    return {
        "experts": {category: entry(category) for category, verdict in verdicts.items() if verdict.passed},
        "multitask": entry(MULTITASK),
        "gate": {category: vars(verdict) for category, verdict in verdicts.items()},
    }


def _score_entry(member: FamilyMember, record: Record) -> dict[str, Any]:
    """One score; `model` is "base", "multitask" or a category."""
    kept = {key: getattr(record, key) for key in _SCORE}
    return {"base": member.base, "model": member.name, "run": member.run, **kept}
