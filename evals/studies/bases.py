"""The bases of a study and what was made of each: listed in its file, or taken from a built family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evals.family.command import command_for, sizes_of
from evals.family.index import INDEX, read_index
from evals.strict import Node
from evals.studies.fields import chosen, count, name_of, text_of
from evals.suites import Suite

_BASE = ("name", "size", "quality", "parameters", "model", "experts", "multitask")


@dataclass(frozen=True)
class BaseMembers:
    """One base and what was made of it.

    size, quality: the axes it stands on.  parameters: how many it has, None: counted from its headers.
    model, experts (held-in category -> model), multitask: as a merge config names models.
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


def read_bases(top: Node, held_in: Suite, categories: Sequence[str]) -> tuple[BaseMembers, ...]:
    """The bases of the sizes that are asked for, listed in the file or in a family's index.

    ConfigError: both or neither are named, no base has an expert, two are of one size and quality (their
    merges would stand in one cell of the tables). InputError: there is no family where the file says.
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
    return kept


def known_sizes(top: Node, bases: Sequence[BaseMembers]) -> list[str]:
    """The sizes that a study may speak of: those of its bases, and of its family those not built yet."""
    listed = sizes_of(Path(text_of(top, "family"))) if "family" in top else None
    return list(dict.fromkeys([*(base.size for base in bases), *(listed or ())]))


def _of_family(top: Node, held_in: Suite, categories: Sequence[str]) -> list[BaseMembers]:
    """The bases of a built family. Experts that did not pass its gate are missing."""
    home = Path(text_of(top, "family"))
    index = read_index(home, lambda: _build_command(top, [str(size) for size in top.raw("sizes") or ()]))
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


def _build_command(top: Node, sizes: Sequence[str]) -> str:
    """What builds the study's family, or its bases of some sizes, on the study's data."""
    data = Path(text_of(top, "data")) if "data" in top else None
    skip_missing = top.take_or("skip_missing", bool, False)
    return command_for(Path(text_of(top, "family")), sizes, data, skip_missing)


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
        experts = entry.child("experts")
        experts.only(*known)
        models = {category: text_of(experts, category) for category in known if category in experts}
        model = text_of(entry, "model")
        multitask = text_of(entry, "multitask") if "multitask" in entry else None
        _only_once(entry, "model", model, {}, taken)
        own = {model: entry.where("model")}
        for category, place in models.items():
            _only_once(experts, category, place, own, taken)
        if multitask is not None:
            _only_once(entry, "multitask", multitask, own, taken)
        missing = f"{entry.where('experts')} names none"
        found.append(
            BaseMembers(
                name=name,
                size=text_of(entry, "size"),
                quality=text_of(entry, "quality"),
                parameters=count(entry, "parameters"),
                model=model,
                experts={category: models[category] for category in categories if category in models},
                multitask=multitask,
                missing={category: missing for category in categories if category not in models},
            )
        )
    return found


def _only_once(node: Node, key: str, model: str, own: Mapping[str, str], taken: dict[str, str]) -> None:
    """ConfigError: the model is its own base (`own`), or was `taken` before, as another expert, say."""
    where = own.get(model) or taken.setdefault(model, node.where(key))
    if where != node.where(key):
        raise node.wrong(
            key, "one model in two places", expected="a model of its own", hint=f"change this or {where}"
        )
