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
    """One expert: its name, its data and its hyper-parameters."""

    name: str
    train: Path
    validation: Path | None
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
    top = Place(str(path))
    raw = top.mapping(read_file(path), "base, out and experts")
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
    train = place.key("train").text(mapping.get("train"), "a JSONL file of multiple-choice examples")
    held = mapping.get("validation")
    validation = (
        None
        if held is None
        else Path(place.key("validation").text(held, "a JSONL file like the training data"))
    )
    settings = read_settings(mapping.get("settings"), place.key("settings"), defaults)
    return ExpertConfig(name, Path(train), validation, settings)
