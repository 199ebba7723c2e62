"""The family config: which bases, which suites, how experts are trained. Read strictly; looks at no model.

Paths are as the user wrote them: relative ones start at the current directory, as on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evals.task import NAME
from pipeline.config.place import Place, describe
from pipeline.config.text import read_file
from pipeline.errors import InputError, near
from pipeline.training.scratch.settings import ScratchSettings, read_scratch
from pipeline.training.settings import TrainSettings, read_settings

PACKAGES = ("smollm2",)
_TOP = ["name", "out", "suites", "scratch", "bases", "experts", "repeat", "validation", "limit", "full"]
_SOURCES = ("model", "package", "scratch")
_EXPERTS = ["settings", "by_size", "multitask"]
_VALIDATION_ROWS = 200
#: Seeds of the training are whole numbers below this; `pipeline.training.settings` has the range.
_SEEDS = 1 << 32
_VOCAB = 4096


@dataclass(frozen=True)
class BaseConfig:
    """One base. Exactly one of `model` (a directory), `package` (a name) and `scratch` is set."""

    name: str
    size: str
    quality: str
    model: Path | None = None
    package: str = ""
    scratch: ScratchSettings | None = None


@dataclass(frozen=True)
class ScratchSources:
    """What bases from scratch are made of; None: the text and rows that are made out of packages."""

    vocab: int = _VOCAB
    corpus: Path | None = None
    instruct: Path | None = None


@dataclass(frozen=True)
class ExpertsConfig:
    """Training settings as written: common ones, on top of them those of a size, then those of multitask,
    then those of the multitask model of a size.
    """

    settings: Mapping[str, Any]
    by_size: Mapping[str, Mapping[str, Any]]
    multitask: Mapping[str, Any]
    multitask_by_size: Mapping[str, Mapping[str, Any]]

    def of(self, size: str, *, multitask: bool = False, run: int = 0) -> dict[str, Any]:
        """The settings of one model. Runs differ in the seed alone: each has the next one."""
        found = {**self.settings, **self.by_size.get(size, {})}
        if multitask:
            found |= {**self.multitask, **self.multitask_by_size.get(size, {})}
        if run:
            found["seed"] = (found.get("seed", TrainSettings.seed) + run) % _SEEDS
        return found


@dataclass(frozen=True)
class FamilyConfig:
    """A family. bases: those to build, of all that are `listed`.  validation: rows of a task that the gate
    looks at.  limit: items of a task that are scored at most, None for the suites' own.  full: every expert
    on every task.  repeat: runs of every expert and multitask model that are asked for: the same rows and
    settings with other seeds.  built: base -> runs that were built before, which are kept.
    """

    file: Path
    name: str
    out: Path
    held_in: Path
    held_out: Path | None
    scratch: ScratchSources
    listed: tuple[BaseConfig, ...]
    bases: tuple[BaseConfig, ...]
    experts: ExpertsConfig
    validation: int = _VALIDATION_ROWS
    limit: int | None = None
    full: bool = False
    repeat: int = 1
    built: Mapping[str, int] = field(default_factory=dict)

    def of_sizes(self, sizes: Sequence[str]) -> FamilyConfig:
        """The same with the bases of these sizes only. InputError: a size that no base has."""
        known = list(dict.fromkeys(base.size for base in self.listed))
        for size in sizes:
            if size not in known:
                raise InputError(f'no base of size "{size}"', where=str(self.file), hint=near(size, known))
        return replace(self, bases=tuple(base for base in self.listed if base.size in sizes))

    def repeated(self, repeat: int) -> FamilyConfig:
        """Return the same config with `repeat` runs of every expert."""
        return replace(self, repeat=repeat)

    def runs(self, base: BaseConfig) -> range:
        """The runs of a base's experts: those asked for, and those that were built before."""
        return range(max(self.repeat, self.built.get(base.name, 1)))

    def experts_dir(self, base: BaseConfig, run: int = 0) -> Path:
        """Where the experts of one run of a base lie."""
        return (self.out / "runs" / str(run) if run else self.out / "experts") / base.name

    def expert_dir(self, base: BaseConfig, name: str, run: int = 0) -> Path:
        """Where an expert, or the multitask model, of a base lies."""
        return self.experts_dir(base, run) / name


def load_family(path: Path | str) -> FamilyConfig:
    """Read a family config (YAML or JSON). ConfigError names the file, the path in it, the nearest name."""
    top = Place(str(path))
    raw = top.mapping(read_file(path), "name, out, suites, bases and experts")
    top.only(raw, _TOP)
    name = top.key("name").text(raw.get("name"), "the family's name")
    out = top.key("out").text(raw.get("out"), "the directory that the family goes to")
    held_in, held_out = _suites(raw.get("suites"), top.key("suites"))
    bases = _bases(raw.get("bases"), top.key("bases"))
    experts = _experts(raw.get("experts"), top.key("experts"), bases)
    return FamilyConfig(
        file=Path(path),
        name=name,
        out=Path(out),
        held_in=held_in,
        held_out=held_out,
        scratch=_sources(raw.get("scratch", {}), top.key("scratch")),
        listed=bases,
        bases=bases,
        experts=experts,
        validation=_count(raw.get("validation", _VALIDATION_ROWS), top.key("validation")),
        limit=_count(raw["limit"], top.key("limit")) if "limit" in raw else None,
        full=_flag(raw.get("full", False), top.key("full")),
        repeat=_count(raw.get("repeat", 1), top.key("repeat")),
    )


def _suites(raw: object, place: Place) -> tuple[Path, Path | None]:
    """(held-in, held-out) suite files; a family may do without the second."""
    mapping = place.mapping(raw, "held-in: a suite file")
    place.only(mapping, ["held-in", "held-out"])
    held_in = place.key("held-in").text(mapping.get("held-in"), "a suite file")
    if "held-out" not in mapping:
        return Path(held_in), None
    return Path(held_in), Path(place.key("held-out").text(mapping["held-out"], "a suite file"))


def _sources(raw: object, place: Place) -> ScratchSources:
    mapping = place.mapping(raw, "vocab, corpus and instruct")
    place.only(mapping, ["vocab", "corpus", "instruct"])
    paths = {
        key: Path(place.key(key).text(mapping[key], "a JSONL file"))
        for key in ("corpus", "instruct")
        if key in mapping
    }
    return ScratchSources(_count(mapping.get("vocab", _VOCAB), place.key("vocab")), **paths)


def _bases(raw: object, place: Place) -> tuple[BaseConfig, ...]:
    """The list of bases; their names are different."""
    if not isinstance(raw, list) or not raw:
        raise place.error("not a list of bases", expected="at least one base", found=describe(raw))
    found: list[BaseConfig] = []
    for index, entry in enumerate(raw):
        base = _base(entry, place.item(index))
        if any(base.name == other.name for other in found):
            raise place.item(index).key("name").error("this name is already taken", found=base.name)
        found.append(base)
    return tuple(found)


def _base(raw: object, place: Place) -> BaseConfig:
    mapping = place.mapping(raw, "name, size, quality and where the base comes from")
    place.only(mapping, ["name", "size", "quality", *_SOURCES])
    name, size, quality = (
        place.key(key).text(mapping.get(key), f"the {key} of the base") for key in ("name", "size", "quality")
    )
    if not NAME.fullmatch(name) or name in ("tokenizer", "tokens"):
        raise place.key("name").error("not a name for a base", expected="letters, digits, _, - and .")
    given = [source for source in _SOURCES if source in mapping]
    if len(given) != 1:
        raise place.error(
            "where does it come from?", expected=f"one of {', '.join(_SOURCES)}", found=str(given)
        )
    at = place.key(given[0])
    if given[0] == "scratch":
        return BaseConfig(name, size, quality, scratch=read_scratch(mapping["scratch"], at))
    if given[0] == "model":
        return BaseConfig(name, size, quality, model=Path(at.text(mapping["model"], "a model directory")))
    package = at.text(mapping["package"], " or ".join(PACKAGES))
    if package not in PACKAGES:
        raise at.error("no such model in a package", expected=" or ".join(PACKAGES), found=package)
    return BaseConfig(name, size, quality, package=package)


def _experts(raw: object, place: Place, bases: tuple[BaseConfig, ...]) -> ExpertsConfig:
    """The training settings; each mapping is checked for itself and kept as written."""
    mapping = place.mapping(raw, "settings of the training")
    place.only(mapping, _EXPERTS)
    by_size = place.key("by_size").mapping(mapping.get("by_size", {}), "sizes, each with settings")
    place.key("by_size").only(by_size, list(dict.fromkeys(base.size for base in bases)))
    given = {key: mapping.get(key) or {} for key in ("settings", "multitask")}
    for key, value in given.items():
        read_settings(value, place.key(key), TrainSettings())
    own: dict[str, dict[str, Any]] = {}
    multitask: dict[str, Mapping[str, Any]] = {}
    for size, value in by_size.items():
        at = place.key("by_size").key(size)
        own[size] = dict(at.mapping(value, "settings"))
        multitask[size] = own[size].pop("multitask", None) or {}
        read_settings(own[size], at, TrainSettings())
        read_settings(multitask[size], at.key("multitask"), TrainSettings())
    return ExpertsConfig(given["settings"], own, given["multitask"], multitask)


def _count(raw: object, place: Place) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool) or raw < 1:
        raise place.error("not a count", expected="a whole number from 1", found=describe(raw))
    return raw


def _flag(raw: object, place: Place) -> bool:
    if not isinstance(raw, bool):
        raise place.error("not a switch", expected="true or false", found=describe(raw))
    return raw
