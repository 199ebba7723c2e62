"""Bound what a short text may cost: merge keys, aliases that stand for billions of values, endless numbers.

For every YAML and JSON file alike, so that no kind of config can hang a command or fill its memory.
"""

from __future__ import annotations

from typing import Any

import yaml

from pipeline.config.place import Place, describe

#: Values of one file, each alias counted as what it stands for.
MOST_VALUES = 1_000_000
_MOST_MERGED = 200_000
_MOST_DIGITS = 400
_MOST_DEPTH = 200
#: The most that any whole number may have so that it is a float as well.
_MOST_BITS = 1023
_MERGE_TAG = "tag:yaml.org,2002:merge"


class BoundedLoader:
    """Put before a PyYAML loader among a class's bases: merge keys and numbers of bounded cost."""

    _merged_pairs = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Resolve `<<`. A merged key is kept once, its last value: otherwise merges of merges grow without
        bound.
        """
        merged = [value for key, value in node.value if key.tag == _MERGE_TAG]
        maps = [each for value in merged for each in _maps(value)]
        self._merged_pairs += sum(len(each.value) for each in maps)
        if self._merged_pairs > _MOST_MERGED:
            raise yaml.MarkedYAMLError(
                problem=f"merge keys (<<) bring more than {_MOST_MERGED:,} pairs",
                problem_mark=node.start_mark,
            )
        super().flatten_mapping(node)  # type: ignore[misc]
        if merged:
            kept = {
                (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key): (key, value)
                for key, value in node.value
            }
            node.value = list(kept.values())


def bound_numbers(loader: type[Any]) -> type[Any]:
    """Make a loader class refuse numbers of hundreds of digits, whose arithmetic has no end; returns it."""
    for kind in ("int", "float"):
        tag = f"tag:yaml.org,2002:{kind}"

        def number(own: Any, node: Any, construct: Any = loader.yaml_constructors[tag]) -> object:
            if len(node.value) > _MOST_DIGITS:
                raise yaml.MarkedYAMLError(
                    problem=f"a number of more than {_MOST_DIGITS} characters", problem_mark=node.start_mark
                )
            found: object = construct(own, node)
            return found

        loader.add_constructor(tag, number)
    return loader


def check_depth(text: str, place: Place) -> None:
    """Raise ConfigError for nesting that is deep enough to end a parser written in C with its process.

    Only texts that may be that deep are looked at, event by event.
    """
    indents = (len(line) - len(line.lstrip(" -?:")) for line in text.split("\n"))
    if text.count("[") + text.count("{") + max(indents) <= _MOST_DEPTH:
        return
    depth = 0
    for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_DEPTH:
            raise place.error("the config cannot be read", found="nesting too deep")


def check_values(value: object, place: Place) -> None:
    """Check that a value read from `place` can be walked and written.

    Raises ConfigError, with the place inside: an alias stands for itself, aliases stand for more than
    `MOST_VALUES` values, a text holds half of a surrogate pair.
    """
    _Walk(place).count(value)


class _Walk:
    """Counts the values below one, each alias as what it stands for, by one look at every object."""

    def __init__(self, place: Place) -> None:
        self._place, self._steps = place, list[tuple[str, Any]]()
        self._sizes: dict[int, int] = {}
        self._above: set[int] = set()

    def count(self, value: object) -> int:
        """How many values `value` is."""
        if isinstance(value, str):
            if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
                raise self._here().error("a text holds half of a surrogate pair, which is no character")
            return 1
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise self._here().error(
                "a number that is too large", expected=f"at most {_MOST_BITS} bits", found=describe(value)
            )
        if not isinstance(value, dict | list | tuple | set | frozenset):
            return 1
        if id(value) in self._above:
            raise self._here().error(
                "an alias stands for the value that it is a part of", hint="write the value out"
            )
        if id(value) not in self._sizes:
            self._above.add(id(value))
            self._sizes[id(value)] = self._count_parts(value)
            self._above.discard(id(value))
        return self._sizes[id(value)]

    def _count_parts(self, value: Any) -> int:
        total = 1
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in parts:
            self._steps.append(("key" if isinstance(value, dict) else "item", name))
            total += self.count(part) + (self.count(name) if isinstance(value, dict) else 0)
            if total > MOST_VALUES:
                raise self._here().error(
                    "aliases stand for too many values",
                    expected=f"at most {MOST_VALUES:,} in one file",
                    hint="write out what is meant",
                )
            self._steps.pop()
        return total

    def _here(self) -> Place:
        """The place of the value that is looked at."""
        place = self._place
        for kind, name in self._steps:
            place = place.key(name) if kind == "key" else place.item(name)
        return place


def _maps(node: yaml.Node) -> list[yaml.MappingNode]:
    """The mappings that the value of a merge key brings."""
    found = node.value if isinstance(node, yaml.SequenceNode) else [node]
    return [each for each in found if isinstance(each, yaml.MappingNode)]
