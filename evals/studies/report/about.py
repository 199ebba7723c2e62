"""What a report says beside the figures: which study, how far it is, what was tuned, where all came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tuned:
    """One setting that was tried for a method. score: on validation rows, None if it failed.

    settings: as a reader should see them, "density=0.2, weight=1.0".  count: experts that were merged.
    why: it failed, or which tasks are not in its score.
    """

    base: str
    method: str
    count: int
    settings: str
    score: float | None
    chosen: bool
    why: str = ""


@dataclass(frozen=True)
class Origin:
    """A checkpoint or file that the study used. path: as the study file wrote it.  digest: of its content."""

    what: str
    path: str
    digest: str


@dataclass(frozen=True)
class Failure:
    """A unit of work that did not succeed, and why in one line."""

    what: str
    why: str


@dataclass(frozen=True)
class About:
    """A study in words. facts: its protocol, (label, text) pairs.  config: the study file's text.

    finished: nothing is left to run.  scores_done, scores_total: how many scores there are, and were asked
    for.  versions: of every program that decides a score.
    qualities, methods: in the order a reader should see them; those not named come last.
    """

    study: str
    facts: tuple[tuple[str, str], ...]
    config: str
    tuning: tuple[Tuned, ...]
    origins: tuple[Origin, ...]
    versions: Mapping[str, str]
    failures: tuple[Failure, ...]
    finished: bool
    scores_done: int
    scores_total: int
    qualities: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
