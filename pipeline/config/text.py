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

from pipeline.config.bounds import BoundedLoader, bound_numbers, check_depth, check_values
from pipeline.config.place import Place, describe
from pipeline.errors import ConfigError
from pipeline.untrusted import read_small

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
        documents = [_parse_json(text, place)]
    else:
        documents = _parse_yaml(text, place, yaml_loader or _Loader)
    try:
        for document in documents:
            check_values(document, place)
    except RecursionError as error:
        raise _unreadable(place, error) from error
    return documents


def _read_text(path: Path, place: Place) -> str:
    """The file as text; never more of it than a config may be long."""
    try:
        return read_small(path, limit_bytes=MAX_SIZE_BYTES, error=ConfigError).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise place.error("cannot read the config", found=error.strerror or "") from error
    except UnicodeDecodeError as error:
        found = "bytes that are not UTF-8 text"
        raise place.error("cannot read the config", found=found, hint=_WHAT_TO_GIVE) from error
    except ConfigError as error:
        what = "too long for a config" if error.expected.startswith("at most") else "cannot read the config"
        found = error.found if not error.what.startswith("not a") else f"{error.found}, {error.what}"
        raise place.error(what, expected=error.expected, found=found, hint=_WHAT_TO_GIVE) from error


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


class _Loader(BoundedLoader, yaml.SafeLoader):
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


bound_numbers(_Loader)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _parse_yaml(text: str, place: Place, loader: type[Any]) -> list[object]:
    """The documents in a YAML text."""
    try:
        if not issubclass(loader, yaml.SafeLoader):
            check_depth(text, place)
        documents = [document for document in yaml.load_all(text, loader) if document is not None]
    except ConfigError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = (
            place if mark is None else Place(place.source, f"line {mark.line + 1}, column {mark.column + 1}")
        )
        raise where.error("not valid YAML", found=error.problem or error.context or "") from error
    except Exception as error:  # PyYAML lets out whatever its constructors choke on
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
