"""The bases of a study and what was made of each: listed in its file, or taken from a built family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from evals.family.command import command_for, sizes_of
from evals.family.index import INDEX, read_index, runs_of
from evals.strict import Node
from evals.studies.fields import chosen, count, name_of, text_of
from evals.suites import Suite

_RUN = ("experts", "multitask")
_BASE = ("name", "size", "quality", "parameters", "model", *_RUN, "runs")
_ALL_RUNS = "all"


@dataclass(frozen=True)
class RunMembers:
    """What one training of all experts made of a base: fields of `BaseMembers` that differ between runs."""

    experts: Mapping[str, str]
    multitask: str | None
    missing: Mapping[str, str]


@dataclass(frozen=True)
class BaseMembers:
    """One base and what was made of it.

    size, quality: the axes it stands on.  parameters: how many it has, None: counted from its headers.
    model, experts (held-in category -> model), multitask: as a merge config names models.
    missing: category -> why there is no expert, for those a family does without.
    further: the experts trained again with other seeds, run 1 first; those above are of run 0.
    """

    name: str
    size: str
    quality: str
    parameters: int | None
    model: str
    experts: Mapping[str, str]
    multitask: str | None
    missing: Mapping[str, str]
    further: tuple[RunMembers, ...] = ()

    @property
    def runs(self) -> range:
        """The runs of its experts."""
        return range(1 + len(self.further))

    def in_run(self, run: int) -> BaseMembers:
        """The base with the experts and the multitask model of that run in the place of run 0's."""
        return replace(self, **vars(self.further[run - 1])) if run else self


def read_bases(top: Node, held_in: Suite, categories: Sequence[str]) -> tuple[BaseMembers, ...]:
    """The bases of the sizes that are asked for, listed in the file or in a family's index, each with as many
    runs of its experts as are asked for.

    ConfigError: both or neither are named, no base has an expert, a base has fewer runs, two are of one size
    and quality (their merges would stand in one cell of the tables). InputError: there is no family where the
    file says.
    """
    if ("family" in top) == ("bases" in top):
        both = [key for key in ("family", "bases") if key in top]
        raise top.place.error("which models?", expected="`family` or `bases`", found=" and ".join(both))
    key = "family" if "family" in top else "bases"
    if key == "family":
        bases = _of_family(top, held_in, categories)
    else:
        bases = _listed(top, list(held_in.categories), categories)
    advice = partial(_unbuilt, top) if key == "family" else lambda name: ""
    sizes = chosen(top, "sizes", list(dict.fromkeys(base.size for base in bases)), advice=advice)
    kept = tuple(base for base in bases if base.size in sizes)
    if not any(base.experts for base in kept):
        raise top.wrong(key, "no base has an expert", expected=f"one of {', '.join(categories)} at least")
    places: dict[tuple[str, str], str] = {}
    for base in kept:
        other = places.setdefault((base.size, base.quality), base.name)
        if other != base.name:
            raise top.place.key(key).error(
                "two bases of one size and quality",
                expected="one base in each place of the tables",
                found=f"{other} and {base.name}, both {base.size}, {base.quality}",
                hint="write a `quality` that tells them apart, or a study of each",
            )
    return _with_runs(top, kept)


def _with_runs(top: Node, bases: tuple[BaseMembers, ...]) -> tuple[BaseMembers, ...]:
    """The bases with the first `runs` runs of their experts: all there are where the file does not say."""
    if "runs" not in top or top.raw("runs") == _ALL_RUNS:
        return bases
    if isinstance(top.raw("runs"), str):
        raise top.wrong("runs", "unknown word", expected=f"{_ALL_RUNS}, or how many runs are merged")
    runs = count(top, "runs")
    assert runs is not None
    for base in bases:
        if len(base.runs) < runs:
            sizes = list(dict.fromkeys(one.size for one in bases if len(one.runs) < runs))
            build = f"build them: {_build_command(top, sizes, runs)}" if "family" in top else ""
            raise top.place.key("runs").error(
                f"the experts of {base.name} were not trained so often",
                expected=f"{len(base.runs)} at most",
                found=str(runs),
                hint=build or f"list further experts under `runs` of {base.name}",
            )
    return tuple(replace(base, further=base.further[: runs - 1]) for base in bases)


def known_sizes(top: Node, bases: Sequence[BaseMembers]) -> list[str]:
    """The sizes that a study may speak of: those of its bases, and of its family those not built yet."""
    listed = sizes_of(Path(text_of(top, "family"))) if "family" in top else None
    return list(dict.fromkeys([*(base.size for base in bases), *(listed or ())]))


def _of_family(top: Node, held_in: Suite, categories: Sequence[str]) -> list[BaseMembers]:
    """The bases of a built family. Experts that did not pass its gate are missing."""
    home = Path(text_of(top, "family"))
    index = read_index(home, lambda: _build_command(top, [str(size) for size in top.raw("sizes") or ()]))
    left_out = {task for suite in index["suites"] if suite["role"] == "held-in" for task in suite["left_out"]}

    def why(run: Mapping[str, Any], category: str) -> str:
        if category in run["gate"]:
            return f"did not pass the gate of the family: {run['gate'][category]['why']}"
        tasks = [task.name for task in held_in.categories[category]]
        if left_out.issuperset(tasks):
            return f"left out of the family, as data of its tasks was not there: {', '.join(tasks)}"
        return f"not among the categories of the family, see {home / INDEX}"

    def members(run: Mapping[str, Any]) -> RunMembers:
        return RunMembers(
            experts={
                name: str(home / run["experts"][name]["path"])
                for name in categories
                if name in run["experts"]
            },
            multitask=str(home / run["multitask"]["path"]) if run["multitask"] else None,
            missing={name: why(run, name) for name in categories if name not in run["experts"]},
        )

    found = []
    for entry in index["bases"]:
        first, *further = map(members, runs_of(entry))
        found.append(
            BaseMembers(
                name=entry["name"],
                size=entry["size"],
                quality=entry["quality"],
                parameters=entry["parameters"],
                model=str(home / entry["path"]),
                **vars(first),
                further=tuple(further),
            )
        )
    return found


def _build_command(top: Node, sizes: Sequence[str], repeat: int | None = None) -> str:
    """What builds the study's family, or its bases of some sizes, its experts `repeat` times, on its data."""
    data = Path(text_of(top, "data")) if "data" in top else None
    skip_missing = top.take_or("skip_missing", bool, False)
    return command_for(Path(text_of(top, "family")), sizes, data, skip_missing, repeat)


def _unbuilt(top: Node, size: str) -> str:
    """Advice about a size that a family's index lacks; "" where its config lists no such size either."""
    listed = sizes_of(Path(text_of(top, "family")))
    if listed is None:
        return f"if it is a size of the family, build it: {_build_command(top, [size])}"
    return f"not built yet: {_build_command(top, [size])}" if size in listed else ""


def _listed(top: Node, known: Sequence[str], categories: Sequence[str]) -> list[BaseMembers]:
    """The bases that the file lists; `known`: all categories of the suite."""
    found: list[BaseMembers] = []
    taken: dict[str, str] = {}
    for index, raw in enumerate(top.take("bases", list)):
        entry = Node(raw, top.place.key("bases").item(index))
        entry.only(*_BASE)
        name = name_of(entry)
        if any(name == other.name for other in found):
            raise entry.wrong("name", "this name is already taken")
        model = text_of(entry, "model")
        _only_once(entry, "model", model, {}, taken)
        own = {model: entry.where("model")}
        first, further = _run(entry, known, categories, own, taken), []
        for number, run in enumerate(entry.take_or("runs", list, [])):
            node = Node(run, entry.place.key("runs").item(number))
            node.only(*_RUN)
            further.append(_run(node, known, categories, own, taken))
        found.append(
            BaseMembers(
                name=name,
                size=text_of(entry, "size"),
                quality=text_of(entry, "quality"),
                parameters=count(entry, "parameters"),
                model=model,
                **vars(first),
                further=tuple(further),
            )
        )
    return found


def _run(
    node: Node,
    known: Sequence[str],
    categories: Sequence[str],
    own: Mapping[str, str],
    taken: dict[str, str],
) -> RunMembers:
    """The experts and the multitask model that stand in a base's entry, or in one of its runs."""
    experts = node.child("experts")
    experts.only(*known)
    models = {category: text_of(experts, category) for category in known if category in experts}
    for category, place in models.items():
        _only_once(experts, category, place, own, taken)
    multitask = text_of(node, "multitask") if "multitask" in node else None
    if multitask is not None:
        _only_once(node, "multitask", multitask, own, taken)
    missing = f"{node.where('experts')} names none"
    return RunMembers(
        experts={category: models[category] for category in categories if category in models},
        multitask=multitask,
        missing={category: missing for category in categories if category not in models},
    )


def _only_once(node: Node, key: str, model: str, own: Mapping[str, str], taken: dict[str, str]) -> None:
    """ConfigError: the model is its own base (`own`), or was `taken` before, as another expert, say."""
    where = own.get(model) or taken.setdefault(model, node.where(key))
    if where != node.where(key):
        raise node.wrong(
            key, "one model in two places", expected="a model of its own", hint=f"change this or {where}"
        )
