"""The command that builds a family: kept in its folder, and told to those who miss something of it there.

It builds nothing and looks at no model.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from evals.family.config import FamilyConfig, load_family
from pipeline.checkpoint.files import atomic_write, read_json_object
from pipeline.errors import MergescaleError

_KEPT, _REPEAT = "build.json", "--repeat"
#: Where configs of families lie, from the directory that their `out` starts at.
_CONFIGS = Path("configs/family")


def keep_command(config: FamilyConfig, data_dir: Path | None, skip_missing: bool) -> None:
    """Write down what the family in `config.out` is being built by."""
    repeat = [_REPEAT, str(config.repeat)] if config.repeat > 1 else []
    words = [str(config.file), *_data(data_dir, skip_missing), *repeat]
    config.out.mkdir(parents=True, exist_ok=True)
    atomic_write(config.out / _KEPT, json.dumps({"arguments": words}, indent=1).encode())


def command_for(
    home: Path,
    sizes: Sequence[str] = (),
    data_dir: Path | None = None,
    skip_missing: bool = False,
    repeat: int | None = None,
) -> str:
    """The command that builds the family in `home`, or its bases of some `sizes`, its experts `repeat` times.

    By what was kept there, else by the config under configs/family that goes there, on the data named here.
    Where neither tells, CONFIG stands for the file.
    """
    known = _kept(home)
    if known is None:
        config = _config_of(home)
        known = [str(config) if config is not None else "CONFIG", *_data(data_dir, skip_missing)]
    if repeat is not None:
        if _REPEAT in known:
            at = known.index(_REPEAT)
            known = known[:at] + known[at + 2 :]
        known = [*known, _REPEAT, str(repeat)]
    options = [word for size in sizes for word in ("--size", size)]
    command = shlex.join(["mergescale", "family", "build", *known, *options])
    return command + (f", where CONFIG has `out: {home}`" if known[0] == "CONFIG" else "")


def sizes_of(home: Path) -> list[str] | None:
    """The sizes that the config of the family in `home` lists; None where there is no such config here."""
    known = _kept(home)
    config = Path(known[0]) if known is not None else _config_of(home)
    try:
        return [base.size for base in load_family(config).listed] if config is not None else None
    except MergescaleError:
        return None  # the config was kept, but can no longer be read


def _data(data_dir: Path | None, skip_missing: bool) -> list[str]:
    return [*(["--data", str(data_dir)] if data_dir else []), *(["--skip-missing"] if skip_missing else [])]


def _kept(home: Path) -> list[str] | None:
    """What `keep_command` wrote of a config that is still there; None where there is no such thing."""
    if not (home / _KEPT).is_file():
        return None
    try:
        words = [str(word) for word in read_json_object(home / _KEPT)["arguments"]]
    except (MergescaleError, KeyError, TypeError):
        return None  # damaged: the configs are looked at instead
    return words if words and Path(words[0]).is_file() else None


def _config_of(home: Path) -> Path | None:
    """The config among those under configs/family whose family goes to `home`."""
    for file in sorted(_CONFIGS.glob("*.yaml")):
        try:
            out = load_family(file).out
        except MergescaleError:
            continue  # not this one: a config that cannot be read says where nothing
        if out.resolve() == home.resolve():
            return file
    return None
