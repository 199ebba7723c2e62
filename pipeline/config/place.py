"""Where in a config file something stands, and how to say what was found there. Knows nothing of merging."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ConfigError, near

_CLIP = 60
_WIDE_BITS = 256


@dataclass(frozen=True)
class Place:
    """A file and a path in it, such as `merge.yaml: models[1].parameters.weight`."""

    source: str
    path: str = ""

    def key(self, name: object) -> Place:
        """The place of one key of the mapping that stands here."""
        return Place(self.source, f"{self.path}.{label(name)}" if self.path else label(name))

    def item(self, index: int) -> Place:
        """The place of one item of the list that stands here, counted from 0."""
        return Place(self.source, f"{self.path}[{index}]")

    def __str__(self) -> str:
        return f"{self.source}: {self.path}" if self.path else self.source

    def error(self, what: str, *, expected: str = "", found: str = "", hint: str = "") -> ConfigError:
        """An error about what stands here, for the caller to raise."""
        return ConfigError(what, where=str(self), expected=expected, found=found, hint=hint)

    def mapping(self, raw: object, expected: str) -> dict[Any, Any]:
        """`raw`, if it is a mapping. Raises ConfigError otherwise."""
        if not isinstance(raw, dict):
            raise self.error("not a mapping", expected=expected, found=describe(raw))
        return raw

    def text(self, raw: object, expected: str) -> str:
        """`raw`, if it is text that is not empty. Raises ConfigError otherwise."""
        if isinstance(raw, str) and raw:
            return raw
        hint = "put it in quotes" if isinstance(raw, bool | int | float) else ""
        raise self.error("not a text", expected=expected, found=describe(raw), hint=hint)

    def only(
        self, mapping: dict[Any, Any], known: list[str], hint_of: Callable[[str], str] = lambda name: ""
    ) -> None:
        """Raises ConfigError for the first key that is not `known`.

        The hint is what `hint_of` says about the key, or the nearest known name where it says nothing.
        """
        for name in mapping:
            if name not in known:
                hint = hint_of(label(name)) or near(label(name), known)
                raise self.key(name).error(f"unknown key {describe(name, bare=True)}", hint=hint)


def label(name: object) -> str:
    """A key as it is shown in a path."""
    return _clip(name) if isinstance(name, str) else describe(name)


def describe(value: object, *, bare: bool = False) -> str:
    """What was found, in a few words: never long, never recursive, whatever the file holds.

    `bare` leaves out the words around a text, for a name inside a sentence.
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{_clip(value)}"' if bare else f'the text "{_clip(value)}"'
    if isinstance(value, int) and value.bit_length() > _WIDE_BITS:
        return f"a whole number of {value.bit_length()} bits"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, dict):
        names = ", ".join(str(key) for key in list(value)[:5] if isinstance(key, str))
        return _clip(f"a mapping of {len(value)}: {names}") if value else "an empty mapping"
    return f"a {type(value).__name__}"


def _clip(text: str) -> str:
    """At most 60 printable characters."""
    text = "".join(char if char.isprintable() else "?" for char in text[: _CLIP + 1])
    return text if len(text) <= _CLIP else text[: _CLIP - 1] + "…"
