"""A mapping of a config file, handed out key by key: a mistake is a ConfigError with its path in the file.

Files are read by `pipeline.config.text`. This module knows nothing of what they mean; it never guesses or
ignores a value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pipeline.config.place import Place, describe
from pipeline.errors import ConfigError

T = TypeVar("T")
_WORDS: dict[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
}


class Node:
    """One mapping of a file with its place, handed out key by key with the type checked."""

    def __init__(self, value: object, place: Place) -> None:
        self.place = place
        self._values = place.mapping(value, "name: value lines")

    @property
    def file(self) -> Path:
        """The file that this stands in."""
        return Path(self.place.source)

    def where(self, key: str = "") -> str:
        """ "file: path.in.it", as errors show it."""
        return str(self.place.key(key) if key else self.place)

    def only(self, *known: str) -> None:
        """ConfigError with the nearest known name if the mapping holds any other key."""
        self.place.only(self._values, list(known))

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def take(self, key: str, kind: type[T]) -> T:
        """The value of a key that must be there, of the given type (a whole number counts as a number)."""
        if key not in self._values:
            raise self.place.error(f'the key "{key}" is missing', expected=f"{key}: {_WORDS[kind]}")
        value: Any = self._values[key]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(key, "wrong type of value", expected=_WORDS[kind])
        return value

    def take_or(self, key: str, kind: type[T], default: T) -> T:
        """The value of a key that may be left out."""
        return self.take(key, kind) if key in self._values else default

    def raw(self, key: str) -> Any:
        """The value as YAML gave it, for keys of more than one type; None when absent."""
        return self._values.get(key)

    def child(self, key: str) -> Node:
        """The mapping under a key."""
        return Node(self.take(key, dict), self.place.key(key))

    def names(self) -> list[Any]:
        """The keys, in file order."""
        return list(self._values)

    def wrong(self, key: str, what: str, *, expected: str = "", hint: str = "") -> ConfigError:
        """An error about the value of one key, for the caller to raise."""
        found = describe(self._values.get(key))
        return self.place.key(key).error(what, expected=expected, found=found, hint=hint)
