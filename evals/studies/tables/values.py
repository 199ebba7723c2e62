"""What goes into a study's tables and what comes out: plain frozen values, nothing computed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

#: "best expert" is a row of tables, never a subject that was scored.
Kind = Literal["base", "expert", "best expert", "multitask", "merge"]
Role = Literal["held-in", "held-out"]
Verdict = Literal["supported", "the opposite is seen", "no larger difference", "cannot tell"]
Scope = Literal["for these models", "for models like these"]
#: The smallest effect of interest, where a study names none.
SMALLEST_EFFECT = 0.02


@dataclass(frozen=True)
class Subject:
    """A model of the study. size, quality, base: of the base it comes from.  parameters: how many it has, 0
    where that is not known, as none of its models can be had.

    method: "" unless it is a merge.  count: experts that were merged, 0 unless it is a merge.
    experts: their held-in categories; of an expert its own; of a base none; of a multitask model all.
    seed: that picked them, 0 where none did.
    run: which training of the base's experts it comes from, of an expert, multitask model or merge: the same
    recipe and rows with other random draws. A merge of run r is one of experts of run r. 0: the only one, and
    every base.
    """

    base: str
    size: str
    quality: str
    parameters: int
    kind: Kind
    method: str = ""
    count: int = 0
    seed: int = 0
    experts: tuple[str, ...] = ()
    run: int = 0


@dataclass(frozen=True)
class Question:
    """A task of the study. chance: score of blind guessing, None if there is none."""

    role: Role
    suite: str
    category: str
    task: str
    metric: str
    higher_is_better: bool
    chance: float | None


@dataclass(frozen=True)
class Score:
    """One subject on one question. id: the record's name in the store.  items: score of each item, or ().

    value None: it is missing, and `why` says so in one line; id is then "".
    """

    id: str
    subject: Subject
    question: Question
    value: float | None
    stderr: float | None = None
    n: int = 0
    items: tuple[float, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Estimate:
    """A figure with its uncertainty. spread: sample standard deviation over seeds, None with fewer than two.

    low, high: 95% interval of the bootstrap, None where there is nothing to draw from.
    """

    value: float
    spread: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Summary:
    """A table's cell: subjects alike but for their seed, averaged inside categories, over them, over seeds.

    subject: the group, with seed 0 and no experts, but: an expert keeps its category, "best expert" that of
    the one chosen, and base and multitask model have count k where only the categories of merges of k experts
    count.
    raw: mean score.  ratio: over the reference (held-in: the category's expert, held-out: the base).
    corrected: share of the reference's gain over guessing, sums over sums.  Each None where
    anything it needs is missing or undefined.
    holes: the scores that are missing, "task of subject: why".  undefined: figures that cannot be formed
    though all scores are there, in the same form.
    by_category: category -> ratio.  by_seed: seed -> ratio.  by_run: run of the experts -> ratio, empty with
    one run.  records: ids of all it was computed from.
    """

    subject: Subject
    role: Role
    raw: Estimate | None
    ratio: Estimate | None
    corrected: Estimate | None
    by_category: Mapping[str, float | None]
    by_seed: Mapping[int, float | None]
    records: tuple[str, ...]
    holes: tuple[str, ...]
    undefined: tuple[str, ...] = ()
    by_run: Mapping[int, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Judgement:
    """A finding for one scope: for the models that were scored, or for models like them.

    effect: with its 95% interval.  p: of no effect, two-sided.  adjusted: the same by Holm's rule over all
    findings.  Each None where it cannot be formed.  why: in a sentence.
    """

    scope: Scope
    effect: Estimate | None
    p: float | None
    adjusted: float | None
    verdict: Verdict
    why: str


@dataclass(frozen=True)
class Finding:
    """One of the paper's claims, or a part of one (then two have its number), tested on these scores.

    test: what was computed, in a sentence.  effect: the figure with the interval for these models.  unit:
    what it is a difference of.  lines: the two scopes.  verdict, why: of both together.
    measure: what was judged.  beside: the other measure (its name, effect and the verdict that it would have
    given), None where there is no other.  paper: the paper's own figure, in words.
    rows: the figures behind it, (what, effect, the same in the other measure).
    """

    number: int
    claim: str
    test: str
    effect: Estimate | None
    unit: str
    lines: tuple[Judgement, ...]
    verdict: Verdict
    why: str
    paper: str
    measure: str
    beside: tuple[str, Estimate | None, Verdict] | None
    rows: tuple[tuple[str, Estimate | None, Estimate | None], ...]


@dataclass(frozen=True)
class Point:
    """A figure of the scaling law's curve. observed None: not run.  held: it was kept out of the fit.

    inside: of a held point, whether the observed figure is in the interval; None where there is no telling.
    """

    size: str
    parameters: float
    count: int
    observed: float | None
    predicted: float
    low: float | None
    high: float | None
    held: bool
    inside: bool | None = None


#: The largest offset b of a scaling law that is tried.
MOST_OFFSET = 100.0
#: An offset below this is as good as none beside one expert; an interval that is wider than this factor tells
#: of no offset.
SMALL_OFFSET, DECADE = 0.1, 10.0


@dataclass(frozen=True)
class Fit:
    """score(N, k) = S_inf(N) + A(N) / (k + b) for one quality and method (arXiv 2509.24244).

    limit, amplitude: size -> S_inf(N), A(N).  offset: b.  points: those of the fit, those that test it, and
    predictions for what was not run.  why: where nothing could be fitted, the reason; all else is then empty.
    holes: sizes and counts that are not in the fit, "size, count: why".
    """

    quality: str
    method: str
    role: Role
    limit: Mapping[str, Estimate]
    amplitude: Mapping[str, Estimate]
    offset: Estimate | None
    rmse: float | None
    points: tuple[Point, ...]
    why: str = ""
    holes: tuple[str, ...] = ()

    @property
    def is_line(self) -> bool:
        """Whether b is at its largest: a straight line in k over what was run, which has no limit."""
        return self.offset is not None and self.offset.value >= MOST_OFFSET

    @property
    def is_offset_told(self) -> bool:
        """Whether the interval of b spans a decade at most; without an interval nothing speaks against it."""
        if self.offset is None or self.offset.low is None or self.offset.high is None:
            return self.offset is not None
        return self.offset.high <= DECADE * max(self.offset.low, SMALL_OFFSET)


@dataclass(frozen=True)
class Cost:
    """What one kind of work took over the whole study. kind: "load", "merge", "score"; size: of the base."""

    kind: str
    size: str
    units: int
    seconds: float
    read_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class Tables:
    """Everything a report shows of a study's figures."""

    questions: tuple[Question, ...]
    scores: tuple[Score, ...]
    summaries: tuple[Summary, ...]
    findings: tuple[Finding, ...]
    fits: tuple[Fit, ...]
    costs: tuple[Cost, ...]
    smallest_effect: float = SMALLEST_EFFECT
