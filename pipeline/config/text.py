"""Files and text to plain data: YAML or JSON, read strictly. It does not know what the data means.

YAML differs from PyYAML's in two points: a key written twice is an error, and `1e-5` and `1.5e9` are numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.place import Place, describe
from pipeline.errors import ConfigError

#: No config is this long; a weight file given by mistake is.
MAX_SIZE_BYTES = 1 << 20
_WHAT_TO_GIVE = "give a YAML or JSON file that a person could have written"


def read_file(path: str | PathLike[str], yaml_loader: type[Any] | None = None) -> object:
    """The one value in a YAML or JSON file.

    `yaml_loader`: a PyYAML loader in place of the strict one, for files that other programs read by their own
    rules. Raises ConfigError as `read_documents` does, and for several YAML documents.
    """
    documents = read_documents(path, yaml_loader)
    if len(documents) > 1:
        raise Place(str(path)).error(
            "several documents in one file are not supported here",
            expected="one YAML document",
            found=f"{len(documents)}",
            hint="put each in its own file",
        )
    return documents[0]


def read_documents(path: str | PathLike[str], yaml_loader: type[Any] | None = None) -> list[object]:
    """Every value in a file: the one of a JSON file, or the documents of a YAML file, empty ones left out.

    `.json` is JSON, `.yaml` and `.yml` are YAML; other names are JSON where the text is.
    Raises ConfigError: missing, unreadable, too long, not UTF-8, empty, not valid, a key written twice.
    """
    place, suffix = Place(str(path)), Path(path).suffix.lower()
    text = _read_text(Path(path), place)
    if not text.strip():
        raise _empty(place)
    if suffix == ".json" or (suffix not in (".yaml", ".yml") and _is_json(text)):
        return [_parse_json(text, place)]
    return _parse_yaml(text, place, yaml_loader or _Loader)


def _read_text(path: Path, place: Place) -> str:
    """The file as text; never more of it than a config may be long."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SIZE_BYTES + 1)
        text = raw[:MAX_SIZE_BYTES].decode("utf-8-sig") if len(raw) <= MAX_SIZE_BYTES else ""
    except (OSError, ValueError) as error:
        found = error.strerror if isinstance(error, OSError) else str(error)
        found = "bytes that are not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(found)
        hint = "" if isinstance(error, FileNotFoundError) else _WHAT_TO_GIVE
        raise place.error("cannot read the config", found=found, hint=hint) from error
    if len(raw) > MAX_SIZE_BYTES:
        expected = f"{MAX_SIZE_BYTES} bytes at most"
        raise place.error("too long for a config", expected=expected, found="more", hint=_WHAT_TO_GIVE)
    return text


def _is_json(text: str) -> bool:
    """Whether a text is a JSON mapping."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _parse_json(text: str, place: Place) -> object:
    """The value in a JSON text; a key written twice is an error."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = _first_repeated(key for key, _ in pairs)
        if twice is not None:
            raise place.error(f"the key {describe(twice, bare=True)} is written twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        where = Place(place.source, f"line {error.lineno}, column {error.colno}")
        raise where.error("not valid JSON", found=error.msg) from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(place, error) from error


class _Loader(yaml.SafeLoader):
    """Safe YAML where a key stands once in a mapping and `1e-5` and `1.5e9` are numbers, as in YAML 1.2."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Resolve `<<`; the only place that sees the keys as written."""
        own = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = _first_repeated(own)
        if twice is not None:
            mark = [key.start_mark for key, _ in node.value if (key.tag, key.value) == twice][1]
            raise yaml.MarkedYAMLError(
                problem=f"the key {describe(twice[1], bare=True)} is written twice", problem_mark=mark
            )
        super().flatten_mapping(node)
        # A merged key stays once, its last value: otherwise merges of merges grow without bound.
        kept = {
            (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key): (key, value)
            for key, value in node.value
        }
        node.value = list(kept.values())


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _parse_yaml(text: str, place: Place, loader: type[Any]) -> list[object]:
    """The documents in a YAML text."""
    try:
        documents = [document for document in yaml.load_all(text, loader) if document is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = (
            place if mark is None else Place(place.source, f"line {mark.line + 1}, column {mark.column + 1}")
        )
        raise where.error("not valid YAML", found=error.problem or error.context or "") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _unreadable(place, error) from error
    if not documents:
        raise _empty(place)
    return documents


def _first_repeated(items: Iterable[Any]) -> Any:
    """The first item that was there before, or None."""
    seen = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None


def _empty(place: Place) -> ConfigError:
    return place.error("the config is empty", expected="a mapping, name: value lines", found="nothing")


def _unreadable(place: Place, error: Exception) -> ConfigError:
    """An error of a parser that has no line to show."""
    deep = isinstance(error, RecursionError)
    found = "nesting too deep" if deep else str(error).splitlines()[0] if str(error) else type(error).__name__
    return place.error("the config cannot be read", found=found)
