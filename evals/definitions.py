"""Reading an lm-eval task definition as data, without importing lm_eval or running any of its code.

A definition is a mapping with its `include:` files merged in (nearer keys win, as lm-eval has it) and every
`!function` left as a `FunctionRef`. That is enough to check a suite and to digest what a task means; only
`harness/` turns references into functions. This module never touches task data.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import xxhash
import yaml

from pipeline.config.bounds import BoundedLoader, bound_numbers
from pipeline.config.place import describe
from pipeline.config.text import read_file
from pipeline.errors import LIST_ITEM, ConfigError, InputError
from pipeline.untrusted import read_small

_OWN_PACKAGE = Path(__file__).resolve().parent
_TASK_LINE = re.compile(r"""^task:\s*["']?([^"'\s#]+)["']?\s*(?:#.*)?$""", re.MULTILINE)
_MOST_INCLUDES = 50
#: Definitions that the project ships, which every suite may use.
_SHIPPED = _OWN_PACKAGE.parent / "configs" / "suites"
#: What parsers quote of a file in their messages.
_QUOTED = re.compile(r"""'.*'|".*\"""", re.DOTALL)
#: Metrics lm-eval computes where a task lists none, by output type (lm-eval's documented defaults).
DEFAULT_METRICS: Mapping[str, tuple[str, ...]] = {
    "multiple_choice": ("acc", "acc_norm"),
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "generate_until": ("exact_match",),
}
#: Direction of the metrics lm-eval has by name, for definitions that leave it out.
BETTER_HIGHER: Mapping[str, bool] = {
    **dict.fromkeys(("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "f1", "mcc"), True),
    **dict.fromkeys(("bleu", "chrf", "chrf++", "likelihood"), True),
    **dict.fromkeys(("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte"), False),
    **dict.fromkeys(("brier_score", "ter"), False),
}


@dataclass(frozen=True)
class FunctionRef:
    """A function that a definition names: `module.function`, looked up beside the YAML file first.

    `folder` is relative to lm-eval's task folder when `bundled`, so that a reference holds on every machine
    that has lm-eval; otherwise it is absolute and must be on storage that every worker sees.
    """

    name: str
    folder: str
    bundled: bool

    def file(self) -> Path | None:
        """The Python file the function lives in, or None when it is named by an importable module.

        Functions of this package (`evals.generation.…`) are found in it, wherever it is installed.
        """
        module, _, _ = self.name.rpartition(".")
        folder = task_folder() / self.folder if self.bundled else Path(self.folder)
        folder = _OWN_PACKAGE.parent if module.startswith(f"{_OWN_PACKAGE.name}.") else folder
        path = folder / f"{module.replace('.', '/')}.py"
        return path if path.is_file() else None


@cache
def task_folder() -> Path:
    """The folder of the installed lm-eval's task definitions. InputError when lm-eval is not installed."""
    found = importlib.util.find_spec("lm_eval")
    if found is None or not found.submodule_search_locations:
        raise InputError("lm-eval is not installed", hint='install it: pip install "lm-eval>=0.4.13"')
    return Path(next(iter(found.submodule_search_locations))).resolve() / "tasks"


def find_bundled(name: str, where: str) -> Path:
    """The definition file of a task that lm-eval ships, by task name or by its file under lm_eval/tasks/.

    ConfigError with the nearest name when there is none. A name outside its own folder costs a scan of all
    definitions (about two seconds); a file name costs nothing.
    """
    root = task_folder()
    if name.endswith((".yaml", ".yml")):
        path = (root / name).resolve()
        if path.is_file() and path.is_relative_to(root):
            return path
        raise ConfigError(f'lm-eval ships no file "{name}"', where=where, expected=f"a file under {root}")
    known: list[str] = []
    for path, task in _definitions(name):
        if task == name:
            return path
        known.append(task)
    raise ConfigError(
        f'lm-eval ships no single task "{name}"',
        where=where,
        expected="the name of one task, not of a group",
        hint="".join(f'did you mean "{close}"?' for close in get_close_matches(name, known, n=1)),
    )


def _definitions(name: str) -> Iterator[tuple[Path, str]]:
    """(file, task name) of all bundled definitions, the folder most likely to hold `name` first."""
    first = task_folder() / name
    for path in [*sorted(first.glob("**/*.yaml")), *sorted(task_folder().glob("**/*.yaml"))]:
        match = _TASK_LINE.search(path.read_text(encoding="utf-8", errors="replace"))
        if match:
            yield path, match.group(1)


def read_definition(path: Path, suite_folder: Path | None = None) -> dict[str, Any]:
    """Read one definition, includes merged, functions as `FunctionRef`.

    Args:
        path: the file of the definition.
        suite_folder: the folder of the suite that names it. The definition and all that it includes lie there
            or below, below the current directory where the suite does, among the suites that are shipped, or
            in lm-eval. Without one, the definition's.

    Raises:
        ConfigError: a file is elsewhere, is missing or is no task definition; its contents are not shown.
    """
    folder = (suite_folder or path.parent).resolve()
    here = Path.cwd()
    project = (here,) if here != here.parent and folder.is_relative_to(here) else ()
    return _read(_beside(folder, str(path)), _Reading((folder, *project, _SHIPPED, task_folder())), ())


@dataclass(frozen=True)
class _Reading:
    """The reading of one definition. folders: where its files may lie; known: the files read so far."""

    folders: tuple[Path, ...]
    known: dict[Path, dict[str, Any]] = field(default_factory=dict)

    def check_place(self, path: Path, where: str) -> None:
        """Raise ConfigError for a file that a suite may not name: it lies in none of `folders`."""
        if not any(path.is_relative_to(folder) for folder in self.folders):
            raise ConfigError(
                "a suite names a task definition that is not its own",
                where=where,
                expected=f"a file in {LIST_ITEM.join(str(folder) for folder in self.folders)}",
                found=str(path),
                hint="copy the definition to the suite's folder, or below it",
            )


def _read(path: Path, reading: _Reading, above: tuple[Path, ...]) -> dict[str, Any]:
    """Read one definition that those `above` include; a file that several include is read once."""
    if path in above:
        raise ConfigError("these files include each other", where=str(above[-1]), found=str(path))
    reading.check_place(path, f"{above[-1]}: include" if above else str(path))
    if path in reading.known:
        return dict(reading.known[path])
    if len(above) > _MOST_INCLUDES:
        raise ConfigError("files include each other too deeply", where=str(above[-1]), found=str(path))
    own = _read_mapping(path)
    includes = own.pop("include", [])
    merged: dict[str, Any] = {}
    for name in includes if isinstance(includes, list) else [includes]:
        if not isinstance(name, str):
            raise ConfigError(
                "wrong type of value", where=f"{path}: include", expected="a file", found=describe(name)
            )
        part = _read(_beside(path.parent, name, f"{path}: include"), reading, (*above, path))
        part.pop("task_list", None)  # names the tasks of the included file only
        merged.update(part)
    reading.known[path] = merged | own
    return dict(reading.known[path])


def _read_mapping(path: Path) -> dict[str, Any]:
    """Read one file of a definition. ConfigError, without any of the file's text: it is no mapping."""
    try:
        content = read_file(path, _loader(path.parent))
    except ConfigError as error:
        found = _QUOTED.sub("…", error.found)
        raise ConfigError(
            error.what, where=error.where, expected=error.expected, found=found, hint=error.hint
        ) from None
    if not isinstance(content, dict):
        kinds: dict[type[object], str] = {str: "a text", list: "a list"}
        raise ConfigError(
            "not a task definition",
            where=str(path),
            expected="a mapping, as lm-eval's tasks are",
            found=kinds.get(type(content), "another value"),
        )
    return content


def _beside(folder: Path, name: str, where: str = "") -> Path:
    """Return the file of that name, relative to a folder. ConfigError: no file can have the name."""
    try:
        return (folder / name).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            "no file can have this name", where=where or str(folder), found=repr(name)[:200]
        ) from error


def _loader(folder: Path) -> type[Any]:
    """A safe YAML loader for one folder that keeps `!function` as a reference."""

    class Loader(BoundedLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        pass

    bundled = folder.is_relative_to(task_folder())
    place = folder.relative_to(task_folder()).as_posix() if bundled else str(folder)

    def reference(_: Loader, node: yaml.ScalarNode) -> FunctionRef:
        return FunctionRef(node.value, place, bundled)

    Loader.add_constructor("!function", reference)
    return bound_numbers(Loader)


def digest_definition(definition: Mapping[str, Any]) -> str:
    """xxh3_128 (hex) of a definition: its keys and values, and the bytes of the Python files it names."""
    digest = xxhash.xxh3_128()
    _feed(digest, definition)
    return digest.hexdigest()


def _feed(digest: xxhash.xxh3_128, value: Any) -> None:
    """Feed one value. Kinds and lengths go in as well, so that different values never feed the same bytes."""
    if isinstance(value, Mapping):
        digest.update(f"map {len(value)};".encode())
        for key in sorted(value, key=str):
            _feed(digest, key)
            _feed(digest, value[key])
    elif isinstance(value, list | tuple):
        digest.update(f"list {len(value)};".encode())
        for item in value:
            _feed(digest, item)
    elif isinstance(value, FunctionRef):
        file = value.file()
        _feed(digest, ["function", value.name, read_small(file, error=ConfigError) if file else None])
    else:
        data = value if isinstance(value, bytes) else repr(value).encode()
        digest.update(f"{type(value).__name__} {len(data)};".encode())
        digest.update(data)
