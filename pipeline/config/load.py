"""The door of this room: a file or a parsed mapping in, a checked MergeConfig out; and back to plain data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from os import PathLike
from typing import Any

import xxhash

from pipeline.config.merge import MergeConfig, Rule, Setting, Settings
from pipeline.config.mergekit import read_mergekit
from pipeline.config.place import Place
from pipeline.config.reference import local_path, write_reference
from pipeline.config.text import read_documents, read_file
from pipeline.untrusted import canonical_json


def load_config(path: str | PathLike[str]) -> MergeConfig:
    """Read a merge config from a YAML or JSON file. Raises ConfigError for whatever is wrong with it."""
    return parse_config(read_file(path), str(path))


def load_configs(path: str | PathLike[str]) -> tuple[MergeConfig, ...]:
    """Every merge that a file describes, a YAML document each. Raises ConfigError as `parse_configs` does."""
    return parse_configs(read_documents(path), str(path))


def parse_configs(documents: Sequence[object], source: str) -> tuple[MergeConfig, ...]:
    """Check the merges of one file that is already parsed; several have names that tell them apart.

    Raises ConfigError for whatever is wrong with one of them, for a name missing or given twice, and for a
    merge that takes another one's result.
    """
    if len(documents) == 1:
        return (parse_config(documents[0], source),)
    found: dict[str, MergeConfig] = {}
    for number, data in enumerate(documents, 1):
        config = parse_config(data, f"{source}, document {number}")
        place = Place(config.source).key("name")
        if not config.name:
            raise place.error(
                "a merge without a name among several",
                expected="`name: ...` in each document: its model will be OUT/name",
                found="none",
            )
        if config.name.casefold() in found:  # some disks tell no capitals
            raise place.error(f'the name "{config.name}" is given twice', hint="give each merge its own")
        found[config.name.casefold()] = config
    for config in found.values():
        _check_apart(config, {other.name for other in found.values() if other is not config})
    return tuple(found.values())


def parse_config(data: object, source: str = "config") -> MergeConfig:
    """Check a config that is already parsed; `source` names it in messages and anchors relative paths."""
    return read_mergekit(data, source)


def _check_apart(config: MergeConfig, names: Collection[str]) -> None:
    """Merges of one file run side by side, so none may take another's result."""
    entries = [entry.model for entry in config.models]
    for ref in entries if config.base_model is None else [config.base_model, *entries]:
        if ref.path in names and local_path(ref, config.source) is None:
            raise Place(config.source).error(
                f'"{ref}" is the result of another merge in this file',
                expected="models that exist before the run",
                hint=f"put this merge into another file, with OUT/{ref.path} as the model, and run it second",
            )


def to_dict(config: MergeConfig) -> dict[str, Any]:
    """Plain data that `parse_config` reads back as an equal config: what is meant, not how it was written."""
    models = []
    for entry in config.models:
        line: dict[str, Any] = {"model": write_reference(entry.model)}
        if entry.parameters:
            line["parameters"] = _settings(entry.parameters)
        models.append(line)
    data: dict[str, Any] = {"merge_method": config.merge_method, "models": models}
    if config.base_model is not None:
        data["base_model"] = write_reference(config.base_model)
    if config.parameters:
        data["parameters"] = _settings(config.parameters)
    types = {"dtype": config.dtype, "out_dtype": config.out_dtype, "allow_mixed": config.allow_mixed or None}
    return data | {name: value for name, value in types.items() if value is not None}


def fingerprint(obj: object) -> str:
    """xxh3_128 of the canonical JSON, 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(canonical_json(obj).encode())


def _settings(settings: Settings) -> dict[str, Any]:
    return {name: _setting(setting) for name, setting in settings.items()}


def _setting(setting: Setting) -> Any:
    """The shortest form: a scalar or gradient where one rule holds for everything, else a list of rules."""
    if len(setting) == 1 and setting[0].filter is None:
        return _value(setting[0])
    return [
        {"value": _value(rule)} | ({} if rule.filter is None else {"filter": rule.filter}) for rule in setting
    ]


def _value(rule: Rule) -> Any:
    return list(rule.value) if isinstance(rule.value, tuple) else rule.value
