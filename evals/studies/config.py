"""The study file: which models, merged how and in what numbers, scored on what. Read strictly.

Paths are as the user wrote them: relative ones start at the current directory, as on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class MethodConfig:
    """One row of the study. name: its name in tables.  merge_method, parameters: as in a merge config.

    tune: parameter -> the values tried on validation rows, all combinations; empty: nothing is tuned.
    """

    name: str
    merge_method: str
    parameters: Mapping[str, Any]
    tune: Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class BaseMembers:
    """One base and what was made of it.

    size, quality: the axes it stands on.  parameters: how many it has, None: counted from its headers.
    model, experts (held-in category -> model), multitask: directories or Hub repositories.
    missing: category -> why there is no expert, for those a family does without.
    """

    name: str
    size: str
    quality: str
    parameters: int | None
    model: str
    experts: Mapping[str, str]
    multitask: str | None
    missing: Mapping[str, str]


@dataclass(frozen=True)
class TuningConfig:
    """How tuned parameters are chosen: by held-in score on validation rows, never on what is reported.

    suite: a held-in suite of validation rows, by category; None: the rows that the family kept for that.
    family: where such a family lies.  limit: items a task at most.  seed: whose subset of experts is merged.
    """

    suite: Path | None
    family: Path | None
    limit: int | None
    seed: int


@dataclass(frozen=True)
class StudyConfig:
    """A study, checked.

    categories: the held-in categories whose experts are merged, in the suite's order.
    counts: numbers of experts, rising.  seeds: each draws its own subset of experts, and reaches DARE.
    compare: which references are scored beside the base.  scored: held-in tasks of a merge: those whose
    expert is in it, or all.  keep: write the merged models under OUT/merged too.  limit: items a task at
    most.  resamples: of the bootstrap.  data, skip_missing: as `evals.suites.locate_data` has them.
    """

    file: Path
    name: str
    out: Path
    held_in: Path
    held_out: Path | None
    data: Path | None
    skip_missing: bool
    categories: tuple[str, ...]
    bases: tuple[BaseMembers, ...]
    methods: tuple[MethodConfig, ...]
    counts: tuple[int, ...]
    seeds: tuple[int, ...]
    tuning: TuningConfig | None
    compare: frozenset[Literal["experts", "multitask"]]
    scored: Literal["merged", "all"]
    limit: int | None
    keep: bool
    resamples: int
