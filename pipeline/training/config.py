"""The training config: which base, which experts, on what data. Read strictly; looks at no model.

Paths are as the user wrote them: relative ones start at the current directory, as on the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.config.place import Place
from pipeline.config.text import read_file
from pipeline.training.settings import TrainSettings, read_settings

_TOP = ["base", "out", "settings", "experts"]
_EXPERT = ["train", "validation", "settings"]


@dataclass(frozen=True)
class ExpertConfig:
    """One expert: its name, its data (one file or several) and its hyper-parameters."""

    name: str
    train: tuple[Path, ...]
    validation: tuple[Path, ...]
    settings: TrainSettings


@dataclass(frozen=True)
class TrainConfig:
    """A base model and the experts to make of it; expert `name` goes to `out`/`name`."""

    base: Path
    out: Path
    experts: tuple[ExpertConfig, ...]

    def place(self, expert: ExpertConfig) -> Path:
        """The expert's output directory."""
        return self.out / expert.name


def load_train_config(path: Path | str) -> TrainConfig:
    """Read a training config (YAML or JSON). ConfigError names the file, the path in it, the nearest name."""
    return parse_train_config(read_file(path), str(path))


def parse_train_config(content: object, where: str) -> TrainConfig:
    """The training config that a mapping means; `where` says in errors what it was read from."""
    top = Place(where)
    raw = top.mapping(content, "base, out and experts")
    top.only(raw, _TOP)
    base = top.key("base").text(raw.get("base"), "the directory of the base model")
    out = top.key("out").text(raw.get("out"), "the directory the experts go to")
    defaults = read_settings(raw.get("settings"), top.key("settings"), TrainSettings())
    at = top.key("experts")
    experts = at.mapping(raw.get("experts"), "expert names, each with its data")
    if not experts:
        raise at.error("no experts", expected="at least one name with its data")
    found = tuple(_expert(name, value, at, defaults) for name, value in experts.items())
    return TrainConfig(Path(base), Path(out), found)


def _expert(name: object, raw: object, at: Place, defaults: TrainSettings) -> ExpertConfig:
    """One entry of `experts`; its settings are laid over the common ones."""
    place = at.key(name)
    name = at.text(name, "a name")
    if name.startswith(".") or Path(name).name != name:
        raise place.error("not a name for a directory", expected="letters, digits, - and _", found=name)
    mapping = place.mapping(raw, "train: the file with its data")
    place.only(mapping, _EXPERT)
    train = _files(mapping.get("train"), place.key("train"))
    held = mapping.get("validation")
    validation = () if held is None else _files(held, place.key("validation"))
    settings = read_settings(mapping.get("settings"), place.key("settings"), defaults)
    return ExpertConfig(name, train, validation, settings)


def _files(raw: object, place: Place) -> tuple[Path, ...]:
    """One path or a list of different ones."""
    expected = "a JSONL file or a list of them"
    if not isinstance(raw, list):
        return (Path(place.text(raw, expected)),)
    if not raw:
        raise place.error("an empty list", expected=expected)
    paths = tuple(Path(place.item(index).text(one, expected)) for index, one in enumerate(raw))
    for index, path in enumerate(paths):
        if path in paths[:index]:
            raise place.item(index).error("listed twice", found=str(path))
    return paths
