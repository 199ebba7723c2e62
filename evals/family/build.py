"""The story of a family: data -> bases -> experts -> scores -> gate -> index. Resumable at every stage.

Everything finished is kept by what decided it, so the same command goes on after a kill and does nothing when
all is there. The index lists only the experts that passed the gate; the table names the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from evals.content import Digests
from evals.family.command import keep_command
from evals.family.config import FamilyConfig
from evals.family.entries import BASE, FamilyMember, Gate, make_index
from evals.family.gate import SUITE, Check, Verdict, judge, make_check
from evals.family.index import label_in_run, write_index
from evals.family.keep import with_other_sizes
from evals.family.members import Work, make_bases, make_experts
from evals.family.rows import MULTITASK, FamilyData, prepare_rows
from evals.family.runs import with_built_runs
from evals.fanout import Evaluation, evaluate
from evals.models import BASELINES, baseline_model, describe_model
from evals.record import Record
from evals.setting import Setting, lowest
from evals.suites import Suite, check_suite_names, load_suite, locate_data
from pipeline.errors import LIST_ITEM, ConfigError, RunError
from pipeline.output import check_apart

_BATCH = "16"


def build_family(
    config: FamilyConfig, work: Work, *, data_dir: Path | None = None, skip_missing: bool = False
) -> dict[str, Any]:
    """Build what is missing of a family and return its index, which is written too.

    Of a family that is built size by size, or run by run, the index keeps what was built before.

    `data_dir`, `skip_missing`: as `evals.suites.locate_data` has them. InputError for what is wrong with the
    config, suites or data, before anything is trained. RunError, after the index is written: experts or
    scores that are missing, and experts that did not pass.
    """
    config = with_built_runs(config)
    for name in ("data", "experts", "runs", "scores"):
        check_apart(config.out / name, [base.model for base in config.bases if base.model is not None])
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
        (base.name, run): {
            category: _verdict(base.name, run, category, checks, evaluation.records)
            for category in suites[0].categories
        }
        for base in config.bases
        for run in config.runs(base)
    }
    index = make_index(config, suites, members, evaluation.records, gate)
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
    for name in (BASE, MULTITASK):
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
) -> list[FamilyMember]:
    """Every model that is there: base by base, its experts and multitask model, run by run."""
    found = []
    for base in config.bases:
        places = {(BASE, 0): bases[base.name]}
        places |= {
            (name, run): config.expert_dir(base, name, run)
            for run in config.runs(base)
            for name in (*categories, MULTITASK)
        }
        for (name, run), place in places.items():
            if place.is_dir():
                member = FamilyMember(base.name, name, run, describe_model(place, digests))
                found.append(replace(member, model=replace(member.model, label=member.label)))
    return found


def _scores(
    config: FamilyConfig,
    suites: Sequence[Suite],
    checks: Sequence[Check],
    members: Sequence[FamilyMember],
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
        expert = member.name not in (BASE, MULTITASK)
        tasks = [
            task
            for task in every
            if not expert or config.full or (task.role == "held-in" and task.category == member.name)
        ]
        held = [check.task for check in checks if member.name in (BASE, check.task.category)]
        pairs += [(member.model, task) for task in (*tasks, *held)]
    # The gate looks at all validation rows, which its bar is reckoned from.
    most = None if config.limit is None else max(config.limit, config.validation)
    setting = Setting.on(work.device, limit=most, batch_size=_BATCH)
    out = config.out / "scores"
    return evaluate(pairs, work.start, out, setting, digests=digests, show_progress=work.show_progress)


def _verdict(
    base: str, run: int, category: str, checks: Sequence[Check], records: Sequence[Record]
) -> Verdict:
    """The gate for one expert: every run passes or fails by itself."""
    own = [check for check in checks if check.task.category == category]
    held = [record for record in records if record.suite == SUITE]

    def of(label: str) -> dict[str, Record]:
        return {record.task: record for record in held if record.label == label}

    return judge(own, of(f"{base}/{BASE}"), of(label_in_run(f"{base}/{category}", run)))


def _close(
    config: FamilyConfig,
    untrained: Mapping[str, str],
    evaluation: Evaluation,
    gate: Gate,
) -> None:
    """RunError when anything is missing from the family that the config asks for."""
    lines = [f"{expert}: {why}" for expert, why in untrained.items()]
    lines += [f"{one.label} on {one.suite}/{one.task}: {one.reason}" for one in evaluation.failures]
    lines += [
        f"{label_in_run(f'{base}/{category}', run)}: {verdict.why}"
        for (base, run), verdicts in gate.items()
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
