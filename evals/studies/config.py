"""The study file: which models, merged how and in what numbers, scored on what. Read strictly.

Paths are as the user wrote them: relative ones start at the current directory, as on the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from evals.setting import lowest
from evals.strict import Node
from evals.studies.bases import BaseMembers, known_sizes, read_bases
from evals.studies.fields import chosen, count, name_of, rising, text_of, whole
from evals.studies.methods import read_method
from evals.studies.tables.values import SMALLEST_EFFECT
from evals.suites import Suite, load_suite
from evals.task import NAME, Role, Task
from pipeline.config.place import Place, describe
from pipeline.config.text import read_file
from pipeline.errors import near

Reference = Literal["experts", "best-expert", "multitask"]
Scored = Literal["merged", "all"]
REFERENCES: tuple[Reference, ...] = get_args(Reference)
SCORED: tuple[Scored, ...] = get_args(Scored)
_TOP = (
    *("name", "out", "suites", "data", "skip_missing", "family", "bases", "sizes", "categories", "methods"),
    *("experts", "seeds", "runs", "tune", "compare", "scored", "limit", "limits", "by_size", "keep"),
    *("bootstrap", "smallest_effect"),
)
_RESAMPLES, _FEWEST_RESAMPLES, _MOST_RESAMPLES = 1000, 20, 100_000
#: What models of a base are called that are no expert: no category may have these names.
_TAKEN = {"base", "multitask"}
_RENAME = "rename it: that is what another model of every base is called"


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
    compare: which references are scored beside the base; "best-expert": experts on all held-in tasks, not on
    their own alone.  scored: held-in tasks of a merge: those whose expert is in it, or all.
    keep: write the merged models under OUT/merged too.  limit: items a task at most.
    limits: those of single tasks by name, in its place.  size_limits: of every task for models of a size,
    where lower.
    resamples: of the bootstrap.  smallest_effect: of interest, in the units of every finding.  family: the
    directory of the built family that the bases come from, None where the file lists them.  data,
    skip_missing: as `evals.suites.locate_data` has them.
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
    compare: frozenset[Reference]
    scored: Scored
    limit: int | None
    keep: bool
    resamples: int
    family: Path | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    size_limits: Mapping[str, int] = field(default_factory=dict)
    smallest_effect: float = SMALLEST_EFFECT

    def limited(self, tasks: Iterable[Task]) -> tuple[Task, ...]:
        """The tasks with the study's limits; that of a suite or of the tuning holds where it is lower."""
        return tuple(
            replace(task, limit=lowest(task.limit, self.limits.get(task.name, self.limit))) for task in tasks
        )

    def at_size(self, tasks: Iterable[Task], size: str) -> tuple[Task, ...]:
        """The same tasks as models of a size are scored on them: large ones may get fewer items."""
        return tuple(replace(task, limit=lowest(task.limit, self.size_limits.get(size))) for task in tasks)


def load_study(path: Path | str) -> StudyConfig:
    """Read and check a study file (YAML or JSON).

    Models are not looked for; the suites and the family's index are read. ConfigError names the file, the
    path in it and the nearest name. InputError: there is no family where the file says.
    """
    top = Node(read_file(path), Place(str(path)))
    top.only(*_TOP)
    suites = top.child("suites")
    suites.only("held-in", "held-out")
    held_in = _suite(suites, "held-in", "held-in")
    held_out = _suite(suites, "held-out", "held-out") if "held-out" in suites else None
    categories = chosen(top, "categories", list(held_in.categories))
    counts = rising(top, "experts", 1)
    if counts[-1] > len(categories):
        last = top.place.key("experts").item(len(counts) - 1)
        raise last.error(
            "more experts than there are categories",
            expected=f"{len(categories)} at most: {', '.join(categories)}",
            found=str(counts[-1]),
        )
    seeds = rising(top, "seeds", 0)
    bases = read_bases(top, held_in, categories)
    methods = _methods(top.child("methods"), counts)
    compare = _compare(top, methods)
    return StudyConfig(
        file=Path(path),
        name=name_of(top),
        out=Path(text_of(top, "out")),
        held_in=held_in.file,
        held_out=held_out.file if held_out is not None else None,
        data=Path(text_of(top, "data")) if "data" in top else None,
        skip_missing=top.take_or("skip_missing", bool, False),
        categories=categories,
        bases=bases,
        methods=methods,
        counts=counts,
        seeds=seeds,
        tuning=_tuning(top, methods, categories, held_in, seeds[0]),
        compare=compare,
        scored=_scored(top),
        limit=count(top, "limit"),
        keep=top.take_or("keep", bool, False),
        resamples=_resamples(top),
        family=Path(text_of(top, "family")) if "family" in top else None,
        limits=_limits(top, [*held_in.tasks, *(held_out.tasks if held_out is not None else ())]),
        size_limits=_size_limits(top, bases),
        smallest_effect=_smallest_effect(top),
    )


def _limits(top: Node, tasks: Sequence[Task]) -> dict[str, int]:
    """Task -> items at most. ConfigError: no suite has such a task, or it is no number of items."""
    section = top.child("limits") if "limits" in top else Node({}, top.place.key("limits"))
    section.only(*dict.fromkeys(task.name for task in tasks))
    return {name: limit for name in section.names() if (limit := count(section, name)) is not None}


def _resamples(top: Node) -> int:
    """Resamples of the intervals. ConfigError: too few to have ends of 2.5%, or too many for any memory."""
    found = count(top, "bootstrap") or _RESAMPLES
    if not _FEWEST_RESAMPLES <= found <= _MOST_RESAMPLES:
        expected = f"{_FEWEST_RESAMPLES} to {_MOST_RESAMPLES:,}"
        raise top.wrong("bootstrap", "not a sensible number of resamples", expected=expected)
    return found


def _smallest_effect(top: Node) -> float:
    """The smallest effect of interest. ConfigError: it is no number above 0 and below 1."""
    if "smallest_effect" not in top:
        return SMALLEST_EFFECT
    found = top.take("smallest_effect", float)
    if not 0 < found < 1:
        raise top.wrong("smallest_effect", "not an effect of a score", expected="above 0, below 1")
    return found


def _size_limits(top: Node, bases: Sequence[BaseMembers]) -> dict[str, int]:
    """Size -> items of a task at most. ConfigError: there is no such size, or it is no number of items."""
    if "by_size" not in top:
        return {}
    section = top.child("by_size")
    section.only(*known_sizes(top, bases))
    found = {}
    for size in section.names():
        section.child(size).only("limit")
        if (limit := count(section.child(size), "limit")) is not None:
            found[size] = limit
    return found


def _suite(node: Node, key: str, role: Role) -> Suite:
    """The suite that a key names, which must have the role."""
    file = Path(text_of(node, key))
    if not file.is_file():
        others = [str(other) for other in file.parent.glob(f"*{file.suffix}")]
        hint = near(str(file), others) if others else ""
        raise node.wrong(key, "no such file", expected=f"a {role} suite", hint=hint)
    suite = load_suite(file)
    for category in _TAKEN.intersection(suite.categories):
        raise node.wrong(key, f'a category cannot be called "{category}"', hint=_RENAME)
    if suite.role != role:
        raise node.wrong(key, f"the suite is not {role}, but {suite.role}", expected=f"a {role} suite")
    return suite


def _methods(node: Node, counts: Sequence[int]) -> tuple[MethodConfig, ...]:
    """The methods in file order."""
    for name in node.names():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise node.place.error(
                "not a name for a method", expected="letters, digits, _, - and .", found=describe(name)
            )
    if not node.names():
        raise node.place.error("a study needs a method", expected="averaging: {merge_method: linear}")
    return tuple(MethodConfig(name, *read_method(node.child(name), counts)) for name in node.names())


def _compare(top: Node, methods: Sequence[MethodConfig]) -> frozenset[Reference]:
    """What is scored beside bases and merges. Tuning and the best expert need the experts' scores."""
    compare = frozenset(chosen(top, "compare", REFERENCES, least=0))
    needs = "best-expert" if "best-expert" in compare else ""
    needs = needs or next((f"tuning {method.name}" for method in methods if method.tune), "")
    if needs and "experts" not in compare:
        raise top.wrong(
            "compare", f"without experts there is nothing to judge by: {needs}", expected="experts among them"
        )
    return compare


def _tuning(
    top: Node, methods: Sequence[MethodConfig], categories: Sequence[str], held_in: Suite, seed: int
) -> TuningConfig | None:
    """How parameters are tuned; None where none is. A family has validation rows, else a suite names them."""
    section = top.child("tune") if "tune" in top else Node({}, top.place.key("tune"))
    section.only("suite", "limit", "seed")
    tuned = [method.name for method in methods if method.tune]
    if not tuned:
        if "tune" in top:
            raise top.wrong("tune", "no method has anything to tune", expected="a method with `tune`")
        return None
    suite, family = None, Path(text_of(top, "family")) if "family" in top else None
    if "suite" in section:
        rows, family = _suite(section, "suite", "held-in"), None
        suite = rows.file
        if suite == held_in.file:
            raise section.wrong("suite", "tuned on what is reported", expected="a suite of validation rows")
        for category in categories:
            if category not in rows.categories:
                hint = near(category, list(rows.categories))
                raise section.wrong("suite", f'the suite has no category "{category}"', hint=hint)
    elif family is None:
        raise section.place.error(
            f"no validation rows to tune {', '.join(tuned)} on",
            expected="suite: a held-in suite of validation rows",
            hint="name such a suite, or fix the parameters under `parameters`",
        )
    own = whole(section, "seed", 0)
    return TuningConfig(suite, family, count(section, "limit"), seed if own is None else own)


def _scored(top: Node) -> Scored:
    """On which held-in tasks a merge is scored."""
    written = top.take_or("scored", str, SCORED[0])
    scored = next((known for known in SCORED if known == written), None)
    if scored is None:
        raise top.wrong(
            "scored", "unknown word", expected=" or ".join(SCORED), hint=near(written, list(SCORED))
        )
    return scored
