"""The study file: which models, merged how and in what numbers, scored on what. Read strictly.

Paths are as the user wrote them: relative ones start at the current directory, as on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from evals.family.index import INDEX, read_index
from evals.strict import Node
from evals.studies.fields import chosen, count, name_of, rising, text_of, whole
from evals.studies.methods import read_method
from evals.suites import Suite, load_suite
from evals.task import NAME, Role
from pipeline.config.place import Place
from pipeline.config.text import read_file
from pipeline.errors import near

Reference = Literal["experts", "multitask"]
Scored = Literal["merged", "all"]
REFERENCES: tuple[Reference, ...] = get_args(Reference)
SCORED: tuple[Scored, ...] = get_args(Scored)
_TOP = (
    *("name", "out", "suites", "data", "skip_missing", "family", "bases", "sizes", "categories", "methods"),
    *("experts", "seeds", "tune", "compare", "scored", "limit", "keep", "bootstrap"),
)
_BASE = ("name", "size", "quality", "parameters", "model", "experts", "multitask")
_RESAMPLES = 1000


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
    most.  resamples: of the bootstrap.  family: the directory of the built family that the bases come from,
    None where the file lists them.  data, skip_missing: as `evals.suites.locate_data` has them.
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


def load_study(path: Path | str, *, overrides: Mapping[str, Any] | None = None) -> StudyConfig:
    """Read and check a study file (YAML or JSON). `overrides`: keys of its top level, laid over the file's.

    Models are not looked for; the suites and the family's index are read. ConfigError names the file, the
    path in it and the nearest name. InputError: there is no family where the file says.
    """
    raw = read_file(path)
    top = Node({**raw, **(overrides or {})} if isinstance(raw, dict) else raw, Place(str(path)))
    top.only(*_TOP)
    suites = top.child("suites")
    suites.only("held-in", "held-out")
    held_in = _suite(suites, "held-in", "held-in")
    held_out = _suite(suites, "held-out", "held-out").file if "held-out" in suites else None
    categories = chosen(top, "categories", list(held_in.categories))
    counts = rising(top, "experts", 1)
    if counts[-1] > len(categories):
        raise top.wrong("experts", "more experts than there are", expected=f"{len(categories)} at most")
    seeds = rising(top, "seeds", 0)
    bases = _bases(top, held_in, categories)
    methods = _methods(top.child("methods"), counts)
    return StudyConfig(
        file=Path(path),
        name=name_of(top),
        out=Path(text_of(top, "out")),
        held_in=held_in.file,
        held_out=held_out,
        data=Path(text_of(top, "data")) if "data" in top else None,
        skip_missing=top.take_or("skip_missing", bool, False),
        categories=categories,
        bases=bases,
        methods=methods,
        counts=counts,
        seeds=seeds,
        tuning=_tuning(top, methods, categories, held_in, seeds[0]),
        compare=frozenset(chosen(top, "compare", REFERENCES, least=0)),
        scored=_scored(top),
        limit=count(top, "limit"),
        keep=top.take_or("keep", bool, False),
        resamples=count(top, "bootstrap") or _RESAMPLES,
        family=Path(text_of(top, "family")) if "family" in top else None,
    )


def _suite(node: Node, key: str, role: Role) -> Suite:
    """The suite that a key names, which must have the role."""
    suite = load_suite(text_of(node, key))
    if suite.role != role:
        raise node.wrong(key, f"the suite is not {role}, but {suite.role}", expected=f"a {role} suite")
    return suite


def _bases(top: Node, held_in: Suite, categories: Sequence[str]) -> tuple[BaseMembers, ...]:
    """The bases of the sizes that are asked for, listed in the file or in a family's index."""
    if ("family" in top) == ("bases" in top):
        both = [key for key in ("family", "bases") if key in top]
        raise top.place.error("which models?", expected="`family` or `bases`", found=" and ".join(both))
    if "family" in top:
        bases = _of_family(Path(text_of(top, "family")), held_in, categories)
    else:
        bases = _listed(top, list(held_in.categories), categories)
    sizes = chosen(top, "sizes", list(dict.fromkeys(base.size for base in bases)))
    kept = tuple(base for base in bases if base.size in sizes)
    if not any(base.experts for base in kept):
        key = "family" if "family" in top else "bases"
        raise top.wrong(key, "no base has an expert", expected=f"one of {', '.join(categories)} at least")
    return kept


def _of_family(home: Path, held_in: Suite, categories: Sequence[str]) -> list[BaseMembers]:
    """The bases of a built family. Experts that did not pass its gate are missing."""
    index = read_index(home)
    left_out = {task for suite in index["suites"] if suite["role"] == "held-in" for task in suite["left_out"]}

    def why(entry: Mapping[str, Any], category: str) -> str:
        if category in entry["gate"]:
            return f"did not pass the gate of the family: {entry['gate'][category]['why']}"
        tasks = [task.name for task in held_in.categories[category]]
        if left_out.issuperset(tasks):
            return f"left out of the family, as data of its tasks was not there: {', '.join(tasks)}"
        return f"not among the categories of the family, see {home / INDEX}"

    return [
        BaseMembers(
            name=entry["name"],
            size=entry["size"],
            quality=entry["quality"],
            parameters=entry["parameters"],
            model=str(home / entry["path"]),
            experts={
                name: str(home / entry["experts"][name]["path"])
                for name in categories
                if name in entry["experts"]
            },
            multitask=str(home / entry["multitask"]["path"]) if entry["multitask"] else None,
            missing={name: why(entry, name) for name in categories if name not in entry["experts"]},
        )
        for entry in index["bases"]
    ]


def _listed(top: Node, known: Sequence[str], categories: Sequence[str]) -> list[BaseMembers]:
    """The bases that the file lists; `known`: all categories of the suite."""
    found: list[BaseMembers] = []
    for index, raw in enumerate(top.take("bases", list)):
        entry = Node(raw, top.place.key("bases").item(index))
        entry.only(*_BASE)
        name = name_of(entry)
        if any(name == other.name for other in found):
            raise entry.wrong("name", "this name is already taken")
        experts = entry.child("experts")
        experts.only(*known)
        models = {category: text_of(experts, category) for category in known if category in experts}
        model = text_of(entry, "model")
        for category, place in models.items():
            if place in [model, *(other for key, other in models.items() if key != category)]:
                raise experts.wrong(category, "one model cannot stand in two places of a merge")
        missing = f"{entry.where('experts')} names none"
        found.append(
            BaseMembers(
                name=name,
                size=text_of(entry, "size"),
                quality=text_of(entry, "quality"),
                parameters=count(entry, "parameters"),
                model=model,
                experts={category: models[category] for category in categories if category in models},
                multitask=text_of(entry, "multitask") if "multitask" in entry else None,
                missing={category: missing for category in categories if category not in models},
            )
        )
    return found


def _methods(node: Node, counts: Sequence[int]) -> tuple[MethodConfig, ...]:
    """The methods in file order."""
    for name in node.names():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise node.place.error("not a name for a method", expected="letters, digits, _, - and .")
    if not node.names():
        raise node.place.error("a study needs a method", expected="averaging: {merge_method: linear}")
    return tuple(MethodConfig(name, *read_method(node.child(name), counts)) for name in node.names())


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
