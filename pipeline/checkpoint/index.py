"""A checkpoint as a table: every tensor's name, type, shape, file and byte range, from headers alone.

Reads the config and headers of a local directory and checks them against each other. Never reads a byte of
weights and never writes anything here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.checkpoint.choose import CONFIG_NAME, choose_weights
from pipeline.checkpoint.files import read_json_object
from pipeline.checkpoint.header import Header, read_header
from pipeline.checkpoint.layout import INDEX_NAME, SINGLE_NAME, natural_key
from pipeline.checkpoint.recomputed import is_recomputed
from pipeline.errors import CheckpointError
from pipeline.untrusted import is_relative_name
from pipeline.values import ModelRef, TensorSpec


@dataclass(frozen=True)
class TensorEntry:
    """One stored tensor: what it is, its file (absolute path), the absolute offset of its first byte."""

    spec: TensorSpec
    file: str
    start_byte: int


@dataclass(frozen=True)
class FileEntry:
    """One weight file: absolute path, size, xxh3_128 of its header, last change (0: not fetched yet), and
    which file it was, see `Header`.
    """

    path: str
    size_bytes: int
    header_digest: str
    mtime_ns: int
    inode: int = 0
    ctime_ns: int = 0


@dataclass(frozen=True)
class CheckpointIndex:
    """All that is known of a model before its weights are read.

    directory: absolute path.
    tensors: by name; files in natural order, in each the tensors in the order of their bytes.
    config: config.json, {} where there is none.
    commit: the Hub commit, or the version of a bucket, that the files belong to, None for a local model.
    """

    ref: ModelRef
    directory: str
    tensors: dict[str, TensorEntry]
    files: tuple[FileEntry, ...]
    config: dict[str, Any]
    commit: str | None = None


def read_directory(ref: ModelRef, directory: Path, *, commit: str | None = None) -> CheckpointIndex:
    """Read the headers of a model that lies in a local directory."""
    names = list_names(directory)
    chosen = choose_weights(names, str(directory))
    weight_map = read_weight_map(directory / INDEX_NAME) if chosen == INDEX_NAME else None
    files = weight_files(chosen, weight_map)
    check_present(directory, files, names)
    headers = {file: read_header(str(directory / file)) for file in files}
    return assemble(ref, directory, headers, weight_map, commit=commit)


def list_names(directory: Path) -> list[str]:
    """Names in a directory, sorted. Raises CheckpointError if it cannot be listed."""
    try:
        return sorted(os.listdir(directory))
    except OSError as error:
        raise CheckpointError(
            "directory cannot be read",
            where=str(directory),
            found=error.strerror or str(error),
            hint="check the permissions",
        ) from error


def read_weight_map(path: Path) -> dict[str, str]:
    """Tensor name -> file name from an index file. Raises CheckpointError unless files are plain names."""
    weight_map = read_json_object(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        found = "nothing" if not weight_map else type(weight_map).__name__
        raise CheckpointError(
            "index has no weight map",
            where=f"{path}: weight_map",
            expected="tensor name -> file name",
            found=found,
        )
    for name, file in weight_map.items():
        if not is_relative_name(file) or "/" in file or not file.endswith(".safetensors"):
            raise CheckpointError(
                "index sends a tensor to something that is no weight file of this directory",
                where=f"{path}: weight_map: {name}",
                expected="the name of a .safetensors file beside the index",
                found=str(file),
            )
    return weight_map


def weight_files(chosen: str, weight_map: Mapping[str, str] | None) -> list[str]:
    """Names of the weight files in natural order."""
    return [chosen] if weight_map is None else sorted(set(weight_map.values()), key=natural_key)


def check_present(directory: Path, files: list[str], names: list[str]) -> None:
    """Every file of the index must be there, and no second full set of weights beside it."""
    missing = [file for file in files if file not in names]
    if missing:
        raise CheckpointError(
            f"index names {len(missing)} of {len(files)} weight files that are not there",
            where=str(directory / missing[0]),
            expected=f"{len(files)} files as {INDEX_NAME} says",
            found=f"{len(files) - len(missing)} files",
            hint="copy or download the missing files",
        )
    if SINGLE_NAME in names and SINGLE_NAME not in files:
        raise CheckpointError(
            "two sets of weights lie here, and they may differ",
            where=str(directory),
            expected=f"{SINGLE_NAME} or {INDEX_NAME}",
            found="both",
            hint="move the set that is not meant out of the directory",
        )


def assemble(
    ref: ModelRef,
    directory: Path,
    headers: Mapping[str, Header],
    weight_map: Mapping[str, str] | None,
    *,
    commit: str | None = None,
) -> CheckpointIndex:
    """The index of a model from its files' headers, by file name, checked against the weight map."""
    tensors: dict[str, TensorEntry] = {}
    for file, header in headers.items():
        path = str(directory / file)
        for name, (spec, start_byte) in header.tensors.items():
            if name in tensors:
                raise CheckpointError(
                    f'tensor "{name}" lies in two files',
                    where=path,
                    expected=f"only in {os.path.basename(tensors[name].file)}",
                    hint="write the checkpoint again with save_pretrained",
                )
            tensors[name] = TensorEntry(spec, path, start_byte)
    if not tensors:
        raise CheckpointError(
            "weight files hold no tensors", where=str(directory), hint="check the checkpoint"
        )
    if weight_map is not None:
        _check_weight_map(directory, tensors, weight_map)
    config = directory / CONFIG_NAME
    return CheckpointIndex(
        ref=ref,
        directory=str(directory),
        tensors=tensors,
        files=tuple(
            FileEntry(
                str(directory / file),
                header.size_bytes,
                header.digest,
                header.mtime_ns,
                header.inode,
                header.ctime_ns,
            )
            for file, header in headers.items()
        ),
        config=read_json_object(config) if os.path.lexists(config) else {},
        commit=commit,
    )


def _check_weight_map(
    directory: Path, tensors: Mapping[str, TensorEntry], weight_map: Mapping[str, str]
) -> None:
    hint = "write the checkpoint again with save_pretrained"
    for name, file in weight_map.items():
        entry = tensors.get(name)
        if entry is None or os.path.basename(entry.file) != file:
            raise CheckpointError(
                f'index says that tensor "{name}" is in a file that does not hold it',
                where=str(directory / INDEX_NAME),
                expected=file,
                found="no file" if entry is None else os.path.basename(entry.file),
                hint=hint,
            )
    # Loaders read what the files hold, listed or not; a buffer that they compute themselves does no harm.
    unlisted = [
        name for name, entry in tensors.items() if name not in weight_map and not is_recomputed(entry.spec)
    ]
    if unlisted:
        raise CheckpointError(
            f'tensor "{unlisted[0]}" is in a file but not in the index',
            where=tensors[unlisted[0]].file,
            expected=f"{len(weight_map)} tensors as {INDEX_NAME} says",
            found=f"{len(tensors)} tensors",
            hint=hint,
        )
