"""The story of a family: data -> bases -> experts -> scores -> gate -> index. Resumable at every stage.

Everything finished is kept by what decided it, so the same command goes on after a kill and does nothing when
all is there. The index lists only the experts that passed the gate; the table names the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from evals.content import Digests
from evals.family.command import keep_command
from evals.family.config import BaseConfig, FamilyConfig
from evals.family.gate import SUITE, Check, Verdict, judge, make_check
from evals.family.index import SCHEMA, model_entry, write_index
from evals.family.keep import with_other_sizes
from evals.family.members import Work, make_bases, make_experts
from evals.family.rows import MULTITASK, FamilyData, prepare_rows
from evals.fanout import Evaluation, evaluate
from evals.models import BASELINES, Model, baseline_model, describe_model
from evals.record import Record
from evals.setting import Setting, lowest
from evals.suites import Suite, check_suite_names, load_suite, locate_data
from pipeline.checkpoint.files import digest_file
from pipeline.checkpoint.index import read_directory
from pipeline.errors import LIST_ITEM, ConfigError, RunError
from pipeline.values import ModelRef

_BATCH = "16"
_BASE = "base"


@dataclass(frozen=True)
class _Member:
    """A model of the family: which base it belongs to, and what it is: "base", "multitask" or a category."""

    base: str
    name: str
    model: Model

    @property
    def label(self) -> str:
        """Its name in tables and records."""
        return f"{self.base}/{self.name}"


def build_family(
    config: FamilyConfig, work: Work, *, data_dir: Path | None = None, skip_missing: bool = False
) -> dict[str, Any]:
    """Build what is missing of a family and return its index, which is written too.

    Of a family that is built size by size the index keeps what was built before.

    `data_dir`, `skip_missing`: as `evals.suites.locate_data` has them. InputError for what is wrong with the
    config, suites or data, before anything is trained. RunError, after the index is written: experts or
    scores that are missing, and experts that did not pass.
    """
    suites = load_suites(config, data_dir, skip_missing, work)
    keep_command(config, data_dir, skip_missing)
    data = _data(config, suites[0], work)
    checks = [make_check(task, data.validation[task.category, task.name]) for task in suites[0].tasks]
    bases = make_bases(config, work)
    untrained = make_experts(config, bases, data, work)
    digests = Digests(config.out / "scores" / "digests.json")
    members = _members(config, bases, list(suites[0].categories), digests)
    evaluation = _scores(config, suites, checks, members, work, digests)
    gate = {
        base.name: {
            category: _verdict(base.name, category, checks, evaluation.records)
            for category in suites[0].categories
        }
        for base in config.bases
    }
    index = _index(config, suites, members, evaluation.records, gate)
    index = with_other_sizes(index, config, work.report)
    write_index(config.out, index)
    _close(config, untrained, evaluation, gate)
    return index


def load_suites(config: FamilyConfig, data_dir: Path | None, skip_missing: bool, work: Work) -> list[Suite]:
    """The held-in suite, then the held-out one, data located.

    ConfigError: a file has the other role, or a name would be that of something else in the family.
    """
    found: list[Suite] = []
    for role, file in (("held-in", config.held_in), ("held-out", config.held_out)):
        if file is None:
            continue
        suite = load_suite(file)
        if suite.role != role:
            raise ConfigError(f"the suite is not {role}", where=str(file), found=suite.role)
        _check_names(suite)
        check_suite_names([*found, suite])
        found.append(locate_data(suite, data_dir, skip_missing=skip_missing, report=work.report))
    return found


def _check_names(suite: Suite) -> None:
    """ConfigError where a name of the suite is that of something else in the family."""
    if suite.name == SUITE:
        raise ConfigError(f'a suite of a family cannot be called "{SUITE}"', where=f"{suite.file}: name")
    for name in (_BASE, MULTITASK):
        if suite.role == "held-in" and name in suite.categories:
            raise ConfigError(f'a category cannot be called "{name}"', where=f"{suite.file}: categories")


def _data(config: FamilyConfig, suite: Suite, work: Work) -> FamilyData:
    """The training and validation rows of the held-in suite."""
    from evals.harness import write_examples

    def write(suite: Suite, out: Path, *, split: Literal["train", "validation"], limit: int) -> Any:
        work.report(f"rendering the {split} rows of {len(suite.tasks)} tasks")
        return write_examples(suite, out, split=split, limit=limit)

    return prepare_rows(suite, config.out / "data", config.validation, write)


def _members(
    config: FamilyConfig, bases: Mapping[str, Path], categories: Sequence[str], digests: Digests
) -> list[_Member]:
    """Every model that is there: base by base, its experts, its multitask model."""
    found = []
    for base in config.bases:
        places = {_BASE: bases[base.name]}
        places |= {name: config.expert_dir(base, name) for name in (*categories, MULTITASK)}
        for name, place in places.items():
            if place.is_dir():
                member = _Member(base.name, name, describe_model(place, digests))
                found.append(replace(member, model=replace(member.model, label=member.label)))
    return found


def _scores(
    config: FamilyConfig,
    suites: Sequence[Suite],
    checks: Sequence[Check],
    members: Sequence[_Member],
    work: Work,
    digests: Digests,
) -> Evaluation:
    """Base and multitask model on every task, experts on their own (all if `full`); validation rows too.

    And every guesser on every task where answers can be guessed.
    """
    every = [
        replace(task, limit=lowest(task.limit, config.limit)) for suite in suites for task in suite.tasks
    ]
    pairs = [(baseline_model(kind), task) for kind in BASELINES for task in every if task.is_guessable]
    for member in members:
        expert = member.name not in (_BASE, MULTITASK)
        tasks = [
            task
            for task in every
            if not expert or config.full or (task.role == "held-in" and task.category == member.name)
        ]
        held = [check.task for check in checks if member.name in (_BASE, check.task.category)]
        pairs += [(member.model, task) for task in (*tasks, *held)]
    # The gate looks at all validation rows, which its bar is reckoned from.
    most = None if config.limit is None else max(config.limit, config.validation)
    setting = Setting.on(work.device, limit=most, batch_size=_BATCH)
    out = config.out / "scores"
    return evaluate(pairs, work.start, out, setting, digests=digests, show_progress=work.show_progress)


def _verdict(base: str, category: str, checks: Sequence[Check], records: Sequence[Record]) -> Verdict:
    """The gate for one expert."""
    own = [check for check in checks if check.task.category == category]
    held = [record for record in records if record.suite == SUITE]

    def of(name: str) -> dict[str, Record]:
        return {record.task: record for record in held if record.label == f"{base}/{name}"}

    return judge(own, of(_BASE), of(category))


def _index(
    config: FamilyConfig,
    suites: Sequence[Suite],
    members: Sequence[_Member],
    records: Sequence[Record],
    gate: Mapping[str, Mapping[str, Verdict]],
) -> dict[str, Any]:
    """The index as plain data."""
    by_label = {member.label: member for member in members}
    guessed = {(one.model, one.suite, one.task): one.value for one in records if one.is_baseline}
    return {
        "schema": SCHEMA,
        "name": config.name,
        "config": {"path": str(config.file), "digest": digest_file(config.file)},
        "suites": [
            {
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
            for suite in suites
        ],
        "bases": [_base_entry(config, base, by_label, gate[base.name]) for base in config.bases],
        "scores": [_score_entry(record) for record in records if not record.is_baseline],
    }


def _base_entry(
    config: FamilyConfig, base: BaseConfig, members: Mapping[str, _Member], gate: Mapping[str, Verdict]
) -> dict[str, Any]:
    """One base with what was made of it; `experts` are those that passed."""
    multitask = members.get(f"{base.name}/{MULTITASK}")
    own = members[f"{base.name}/{_BASE}"]
    place = Path(own.model.path)
    return {
        "name": base.name,
        "size": base.size,
        "quality": base.quality,
        "parameters": sum(
            entry.spec.numel for entry in read_directory(ModelRef(str(place)), place).tensors.values()
        ),
        **model_entry(place, config.out),
        "experts": {
            category: model_entry(Path(members[f"{base.name}/{category}"].model.path), config.out)
            for category, verdict in gate.items()
            if verdict.passed
        },
        "multitask": model_entry(Path(multitask.model.path), config.out) if multitask else None,
        "gate": {category: vars(verdict) for category, verdict in gate.items()},
    }


def _score_entry(record: Record) -> dict[str, Any]:
    base, _, name = record.label.partition("/")
    kept = (
        "suite",
        "role",
        "category",
        "task",
        "metric",
        "value",
        "stderr",
        "n",
        "task_digest",
        "model_digest",
    )
    return {"base": base, "model": name, **{key: getattr(record, key) for key in kept}}


def _close(
    config: FamilyConfig,
    untrained: Mapping[str, str],
    evaluation: Evaluation,
    gate: Mapping[str, Mapping[str, Verdict]],
) -> None:
    """RunError when anything is missing from the family that the config asks for."""
    lines = [f"{expert}: {why}" for expert, why in untrained.items()]
    lines += [f"{one.label} on {one.suite}/{one.task}: {one.reason}" for one in evaluation.failures]
    lines += [
        f"{base}/{category}: {verdict.why}"
        for base, verdicts in gate.items()
        for category, verdict in verdicts.items()
        if not verdict.passed
    ]
    if lines:
        raise RunError(
            "parts of the family are missing or not good enough",
            where=LIST_ITEM.join(lines),
            expected="every expert above its base and constant answers by two standard errors",
            hint=f"see {config.out / 'family.md'}; change the training, or replace the task",
        )
