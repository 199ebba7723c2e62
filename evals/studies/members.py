"""The models a study starts from: bases, experts, multitask models, each described or missing.

A model that cannot be had is a hole with its reason, not an error: the study goes on without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evals.content import Digests
from evals.family.command import command_for
from evals.family.index import label_in_run
from evals.models import Model, describe_model
from evals.studies.bases import BaseMembers, RunMembers
from evals.studies.config import StudyConfig
from evals.studies.tables.values import Subject
from pipeline.checkpoint.locate import find_model, read_index
from pipeline.config.place import Place
from pipeline.config.reference import read_reference
from pipeline.errors import InputError, MergescaleError


@dataclass(frozen=True)
class Member:
    """A model of the study, merges among them. model None: it cannot be had; `why` says so in one line."""

    subject: Subject
    model: Model | None
    why: str = ""


def members_of(config: StudyConfig, digests: Digests) -> tuple[Member, ...]:
    """Every base, and the experts and multitask model of each of its runs that the study compares with.

    Hub models are downloaded. InputError: there is no base at all.
    """
    found = [member for base in config.bases for member in _of_base(config, base, digests)]
    bases = [member for member in found if member.subject.kind == "base"]
    if all(member.model is None for member in bases):
        more = f"; and {len(bases) - 1} more" if len(bases) > 1 else ""
        raise InputError(
            "no base of the study can be had",
            where=str(config.file),
            found=f"{bases[0].why}{more}",
            hint=_how_to_build(config),
        )
    return tuple(found)


def without_lost(config: StudyConfig, members: Sequence[Member]) -> StudyConfig:
    """The same study, the experts that were looked for in vain among the `missing` of their base.

    Parameters are then tuned on the experts that are there, as they are where the file names no other.
    """
    lost: dict[tuple[str, int], dict[str, str]] = {}
    for one in members:
        if one.subject.kind == "expert" and one.model is None:
            place = (one.subject.base, one.subject.run)
            lost.setdefault(place, {})[one.subject.experts[0]] = one.why

    def without(base: BaseMembers) -> BaseMembers:
        first, *further = (
            _run_without(base.in_run(run), lost.get((base.name, run), {})) for run in base.runs
        )
        return replace(base, **vars(first), further=tuple(further))

    return replace(config, bases=tuple(map(without, config.bases)))


def _run_without(base: BaseMembers, lost: Mapping[str, str]) -> RunMembers:
    experts = {name: model for name, model in base.experts.items() if name not in lost}
    return RunMembers(experts, base.multitask, {**base.missing, **lost})


def _how_to_build(config: StudyConfig) -> str:
    """What makes the models of a family; "" where the file lists them."""
    if config.family is None:
        return ""
    return f"build them: {command_for(config.family, (), config.data, config.skip_missing)}"


def subject_of(base: BaseMembers, parameters: int) -> Subject:
    """The base itself as a subject of tables; its experts and merges are this with other fields."""
    return Subject(base.name, base.size, base.quality, parameters, "base")


def _of_base(config: StudyConfig, base: BaseMembers, digests: Digests) -> list[Member]:
    own = subject_of(base, _parameters(base, config))
    found = [_member(own, base.model, f"{base.name}/base", config, digests)]
    for run in base.runs:
        found += _of_run(config, base.in_run(run), replace(own, run=run), digests)
    return found


def _of_run(config: StudyConfig, base: BaseMembers, own: Subject, digests: Digests) -> list[Member]:
    """Experts and multitask model of one run of a base."""

    def named(name: str) -> str:
        return label_in_run(f"{base.name}/{name}", own.run)

    found = []
    if "experts" in config.compare:
        for category in config.categories:
            subject = replace(own, kind="expert", experts=(category,))
            if category in base.missing:
                found.append(Member(subject, None, base.missing[category]))
            else:
                found.append(_member(subject, base.experts[category], named(category), config, digests))
    if "multitask" in config.compare and base.multitask is not None:
        subject = replace(own, kind="multitask", experts=config.categories)
        found.append(_member(subject, base.multitask, named("multitask"), config, digests))
    return found


def _member(subject: Subject, written: str, label: str, config: StudyConfig, digests: Digests) -> Member:
    """The model that a study file names, or the reason why it is not there."""
    try:
        place = find_model(read_reference(written, Place(str(config.file))))
        model = describe_model(place, digests)
    except MergescaleError as error:
        return Member(subject, None, error.one_line)
    return Member(subject, replace(model, label=label), "")


def _parameters(base: BaseMembers, config: StudyConfig) -> int:
    """How many parameters the base has: as the file says, else by the headers of the first model there is.

    Its experts have its shapes. 0: none of its models can be had.
    """
    models = [base.model, *base.experts.values(), *([base.multitask] if base.multitask else [])]
    for written in models if base.parameters is None else ():
        try:
            index = read_index(read_reference(written, Place(str(config.file))))
        except MergescaleError:
            continue  # why it is not there, `_member` says
        return sum(entry.spec.numel for entry in index.tensors.values())
    return base.parameters or 0
