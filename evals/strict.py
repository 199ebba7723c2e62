"""Reading a YAML file strictly: every mistake is a ConfigError that names the file and the path in it.

It knows nothing of what the file means; `suites.py` does. It never guesses, converts or ignores a value.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pipeline.errors import ConfigError, near

T = TypeVar("T")
_WORDS: dict[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
}


class _OnceLoader(yaml.CSafeLoader):
    """A safe loader that refuses a key written twice, where YAML itself would quietly keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build one mapping; every key may stand in it once."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for position, key in enumerate(keys) if key in keys[:position]), None)
        if twice is not None:
            raise yaml.MarkedYAMLError(
                problem=f'the key "{twice}" is written twice', problem_mark=node.start_mark
            )
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, loader: type[Any] = _OnceLoader) -> dict[str, Any]:
    """The mapping in a YAML file. ConfigError: unreadable, not YAML, or no mapping with text keys."""
    try:
        text = path.read_text(encoding="utf-8")
        found = yaml.load(text, Loader=loader)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path.name}", where=str(path), found=error.strerror or str(error)
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} is not valid YAML", where=str(path), found=str(error)) from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ConfigError(
            f"{path.name} does not hold a mapping", where=str(path), expected="name: value lines"
        )
    return found


class Node:
    """One mapping of a file with its place, handed out key by key with the type checked."""

    def __init__(self, value: Any, file: Path, path: str = "") -> None:
        self.file, self.path = file, path
        self._values: dict[str, Any] = self._checked(value, (dict,), self.where())

    def where(self, key: str = "") -> str:
        """ "file: path.in.it", as errors show it."""
        path = ".".join(part for part in (self.path, key) if part)
        return f"{self.file}: {path}" if path else str(self.file)

    def only(self, *known: str) -> None:
        """ConfigError with the nearest known name if the mapping holds any other key."""
        for key in self._values:
            if key not in known:
                raise ConfigError(
                    f'unknown key "{key}"', where=self.where(str(key)), hint=near(str(key), list(known))
                )

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def take(self, key: str, kind: type[T]) -> T:
        """The value of a key that must be there, of the given type (a whole number counts as a number)."""
        if key not in self._values:
            raise ConfigError(
                f'the key "{key}" is missing', where=self.where(), expected=f"{key}: {_WORDS[kind]}"
            )
        value: T = self._checked(self._values[key], (kind,), self.where(key))
        return value

    def take_or(self, key: str, kind: type[T], default: T) -> T:
        """The value of a key that may be left out."""
        return self.take(key, kind) if key in self._values else default

    def raw(self, key: str) -> Any:
        """The value as YAML gave it, for keys of more than one type; None when absent."""
        return self._values.get(key)

    def child(self, key: str) -> Node:
        """The mapping under a key."""
        return Node(self.take(key, dict), self.file, ".".join(part for part in (self.path, key) if part))

    def names(self) -> list[str]:
        """The keys, in file order."""
        return list(self._values)

    def wrong(self, key: str, what: str, *, expected: str = "", hint: str = "") -> ConfigError:
        """An error about the value of one key, for the caller to raise."""
        found = repr(self._values[key]) if key in self._values else "nothing"
        return ConfigError(what, where=self.where(key), expected=expected, found=found, hint=hint)

    @staticmethod
    def _checked(value: Any, kinds: tuple[type, ...], where: str) -> Any:
        """The value, if it has one of the types. bool is no number here, though Python says so."""
        if float in kinds and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds):
            return value
        expected = " or ".join(_WORDS[kind] for kind in kinds)
        raise ConfigError("wrong type of value", where=where, expected=expected, found=repr(value))
