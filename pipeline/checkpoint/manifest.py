"""The manifest of a merged model: what it was made from and how, and the digest of every file.

Typed on the way in and out, checked field by field when read. It holds no weights and decides nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from pipeline.checkpoint.files import atomic_write, digest_bytes, digest_file, read_json_object
from pipeline.checkpoint.layout import INDEX_NAME
from pipeline.checkpoint.nonfinite import NonFinite
from pipeline.errors import CheckpointError
from pipeline.untrusted import is_relative_name

MANIFEST_NAME = "mergescale_manifest.json"
#: The same record of a merge whose weights were dropped; digests are those of the list of each file's pieces.
DISCARDED_NAME = "mergescale_discarded.json"
_FORMAT = 1
_WEIGHTS_SUFFIX = ".safetensors"
#: Files that say how a model came to be or where its bytes lie, not what it computes.
_NOT_CONTENT = (
    "README.md",
    "LICENSE",
    INDEX_NAME,
    "loss.svg",
    "mergescale_source.json",
    "mergescale_training.json",
    "training_log.jsonl",
)
_DIGEST = re.compile(r"[0-9a-f]{32}")
_T = TypeVar("_T")


class InputFile(TypedDict):
    """One weight file of an input as it was when the merge was planned; `mtime_ns` is its last change."""

    path: str
    size_bytes: int
    header_digest: str
    mtime_ns: int


class InputModel(TypedDict):
    """One input: the reference as written, role, place, Hub commit (None: local), its files."""

    ref: str
    role: str
    directory: str
    commit: str | None
    files: list[InputFile]


@dataclass(frozen=True)
class OutputFile:
    """One file of the model: path in its directory, size, xxh3_128 of its bytes (32 hex digits)."""

    name: str
    size_bytes: int
    digest: str


@dataclass(frozen=True)
class Manifest:
    """All that is recorded of a merge.

    fingerprint: of the plan.  config: resolved, as plain data.
    outputs: every file but the manifest, by name.
    weights_digest: of the weight files.  model_digest: of weights, config, tokenizer and code.
    Both depend on content only: not on paths, time or the way the work was cut.
    libraries: name -> version.  timings: plain data about the run; nothing else depends on it.
    nonfinite: tensors with elements that are NaN or infinite, in the model's order; None where an earlier
    version made the model, which did not count them.
    """

    version: str
    fingerprint: str
    config: dict[str, Any]
    inputs: tuple[InputModel, ...]
    outputs: tuple[OutputFile, ...]
    weights_digest: str
    model_digest: str
    libraries: dict[str, str]
    timings: dict[str, Any]
    nonfinite: tuple[NonFinite, ...] | None = None


def make_manifest(
    directory: Path,
    *,
    fingerprint: str,
    config: Mapping[str, Any],
    inputs: Sequence[Mapping[str, Any]],
    libraries: Mapping[str, str],
    timings: Mapping[str, Any],
    weight_digests: Mapping[str, str] | None = None,
    nonfinite: Sequence[NonFinite] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Manifest:
    """The manifest of the finished files in `directory`; `libraries` must name mergescale itself.

    weight_digests: digests of weight files that are known already, by name; all others are computed here.
    """
    known = weight_digests or {}
    outputs = tuple(
        OutputFile(
            name,
            (directory / name).stat().st_size,
            known.get(name) or digest_file(directory / name, progress=progress),
        )
        for name in model_files(directory)
    )
    return Manifest(
        version=libraries["mergescale"],
        fingerprint=fingerprint,
        config=dict(config),
        inputs=tuple(_input(model, f"inputs[{number}]") for number, model in enumerate(inputs)),
        outputs=outputs,
        weights_digest=weights_digest(outputs),
        model_digest=model_digest(outputs),
        libraries=dict(libraries),
        timings=dict(timings),
        nonfinite=None if nonfinite is None else tuple(nonfinite),
    )


def write_manifest(directory: Path, manifest: Manifest, name: str = MANIFEST_NAME) -> None:
    """Put the manifest into the model's directory, durably and whole."""
    content = {"format": _FORMAT, "product": "mergescale", "digests": "xxh3_128", **asdict(manifest)}
    atomic_write(directory / name, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def read_manifest(directory: Path, name: str = MANIFEST_NAME) -> Manifest:
    """The manifest of a merged model. Raises CheckpointError if there is none or a field is wrong."""
    path = directory / name
    if not path.exists() and (directory / DISCARDED_NAME).exists():
        raise CheckpointError(
            "this was a trial merge: its weights were digested and dropped",
            where=str(directory),
            expected=name,
            found=DISCARDED_NAME,
            hint="merge into a directory, without discard:, to have weights",
        )
    if not path.exists():
        raise CheckpointError(
            "this is not the output of a merge",
            where=str(directory),
            expected=name,
            found="no directory" if not directory.is_dir() else "no such file",
            hint="give the OUT of a `mergescale merge`",
        )
    content = read_json_object(path)
    try:
        return _parse(content)
    except _Wrong as wrong:
        raise CheckpointError(
            "the manifest is damaged or of another version",
            where=f"{path}: {wrong.where}",
            expected=wrong.expected,
            found=wrong.found,
            hint="use the mergescale version that wrote it, or merge again",
        ) from None


def record_name(directory: Path) -> str | None:
    """Name of the record that a finished merge left in a directory: of a model, of a trial, or None."""
    names = (MANIFEST_NAME, DISCARDED_NAME)
    return next((name for name in names if (directory / name).is_file()), None)


def model_files(directory: Path) -> list[str]:
    """Every file of a model as a relative path, sorted; without the manifest and without hidden files."""
    found = [path.relative_to(directory) for path in directory.rglob("*") if path.is_file()]
    visible = [path for path in found if not any(part.startswith(".") for part in path.parts)]
    return sorted(path.as_posix() for path in visible if path.as_posix() != MANIFEST_NAME)


def weights_digest(outputs: Sequence[OutputFile]) -> str:
    """One digest of all weight files, whatever their names and order."""
    return digest_bytes("\n".join(sorted(file.digest for file in outputs if _is_weights(file))).encode())


def model_digest(outputs: Sequence[OutputFile]) -> str:
    """One digest of all that decides what a model computes: weights, config, tokenizer, templates, code."""
    others = [file for file in outputs if not _is_weights(file) and file.name not in _NOT_CONTENT]
    lines = [weights_digest(outputs), *sorted(f"{file.name} {file.digest}" for file in others)]
    return digest_bytes("\n".join(lines).encode())


def _is_weights(file: OutputFile) -> bool:
    return file.name.endswith(_WEIGHTS_SUFFIX)


class _Wrong(Exception):
    """A field that is not what it must be. Never leaves this module."""

    def __init__(self, where: str, expected: str, found: object) -> None:
        super().__init__(where)
        self.where, self.expected, self.found = where, expected, repr(found)[:80]


def _parse(content: Mapping[str, Any]) -> Manifest:
    if content.get("format") != _FORMAT:
        raise _Wrong("format", str(_FORMAT), content.get("format"))
    inputs, outputs = _get(content, "inputs", list, ""), _get(content, "outputs", list, "")
    nonfinite = None if content.get("nonfinite") is None else _get(content, "nonfinite", list, "")
    manifest = Manifest(
        version=_get(content, "version", str, ""),
        fingerprint=_digest(content, "fingerprint", ""),
        config=_get(content, "config", dict, ""),
        inputs=tuple(_input(model, f"inputs[{number}]") for number, model in enumerate(inputs)),
        outputs=tuple(_output(file, f"outputs[{number}]") for number, file in enumerate(outputs)),
        weights_digest=_digest(content, "weights_digest", ""),
        model_digest=_digest(content, "model_digest", ""),
        libraries=_get(content, "libraries", dict, ""),
        timings=_get(content, "timings", dict, ""),
        nonfinite=None
        if nonfinite is None
        else tuple(_nonfinite(tensor, f"nonfinite[{number}]") for number, tensor in enumerate(nonfinite)),
    )
    if not any(_is_weights(file) for file in manifest.outputs):
        raise _Wrong("outputs", "at least one weight file", outputs)
    for name, computed in (
        ("weights_digest", weights_digest(manifest.outputs)),
        ("model_digest", model_digest(manifest.outputs)),
    ):
        if computed != getattr(manifest, name):
            raise _Wrong(name, f"{computed}, as the outputs listed say", getattr(manifest, name))
    return manifest


def _input(model: Any, where: str) -> InputModel:
    table = _of_type(model, dict, where)
    commit = table.get("commit")
    return {
        "ref": _get(table, "ref", str, where),
        "role": _get(table, "role", str, where),
        "directory": _get(table, "directory", str, where),
        "commit": None if commit is None else _of_type(commit, str, f"{where}.commit"),
        "files": [
            _input_file(file, f"{where}.files[{number}]")
            for number, file in enumerate(_get(table, "files", list, where))
        ],
    }


def _input_file(file: Any, where: str) -> InputFile:
    table = _of_type(file, dict, where)
    return {
        "path": _get(table, "path", str, where),
        "size_bytes": _get(table, "size_bytes", int, where),
        "header_digest": _digest(table, "header_digest", where),
        "mtime_ns": _get(table, "mtime_ns", int, where),
    }


def _output(file: Any, where: str) -> OutputFile:
    table = _of_type(file, dict, where)
    name = _get(table, "name", str, where)
    if not is_relative_name(name):
        raise _Wrong(f"{where}.name", "a path inside the model's directory", name)
    return OutputFile(name, _get(table, "size_bytes", int, where), _digest(table, "digest", where))


def _nonfinite(tensor: Any, where: str) -> NonFinite:
    table = _of_type(tensor, dict, where)
    model = table.get("model")
    found = NonFinite(
        tensor=_get(table, "tensor", str, where),
        count=_get(table, "count", int, where),
        model=None if model is None else _of_type(model, str, f"{where}.model"),
        overflowed=_get(table, "overflowed", int, where),
        dtype=_get(table, "dtype", str, where),
    )
    for field, expected in found.wrong():
        raise _Wrong(f"{where}.{field}", expected, getattr(found, field))
    return found


def _digest(table: Mapping[str, Any], key: str, where: str) -> str:
    value = _get(table, key, str, where)
    if not _DIGEST.fullmatch(value):
        raise _Wrong(f"{where}.{key}".lstrip("."), "32 hex digits", value)
    return value


def _get(table: Mapping[str, Any], key: str, kind: type[_T], where: str) -> _T:
    return _of_type(table.get(key), kind, f"{where}.{key}".lstrip("."))


def _of_type(value: Any, kind: type[_T], where: str) -> _T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _Wrong(where, kind.__name__, value)
    return value
