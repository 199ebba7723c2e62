"""Models on a Hub or in a bucket: an index from headers read from afar, weights that are brought later.

How bytes come is the caller's; this module decides which, and holds what came against what was described.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.checkpoint.beside import fetched_for_planning
from pipeline.checkpoint.choose import ADAPTER_NAME, CONFIG_NAME, COPIED, choose_weights
from pipeline.checkpoint.files import free_bytes
from pipeline.checkpoint.header import Header, header_bytes, parse_header
from pipeline.checkpoint.index import (
    CheckpointIndex,
    FileEntry,
    assemble,
    read_directory,
    read_weight_map,
    weight_files,
)
from pipeline.checkpoint.layout import INDEX_NAME
from pipeline.errors import CheckpointError
from pipeline.untrusted import admit_name
from pipeline.values import ModelRef

#: Files that are fetched for planning whose names are known beforehand, as shell patterns.
BESIDE_WEIGHTS = (*COPIED, CONFIG_NAME, INDEX_NAME, ADAPTER_NAME, "*.py")
#: The first read of a header: most are shorter, and a second request costs more than the bytes.
FIRST_READ_BYTES = 512 << 10
PARALLEL_READS = 8
#: A server or gateway that sends fewer bytes than it promised is asked again this often in all.
_READ_ATTEMPTS = 3
#: (file name, first byte, end byte) -> exactly these bytes, up to the file's end, and the whole file's size.
Ranged = Callable[[str, int, int], tuple[bytes | bytearray, int]]


def small_files(sizes: Mapping[str, int]) -> list[str]:
    """Which files of a model elsewhere are fetched for planning: what a merge would copy, and what is read.

    sizes: path in the model -> bytes, of all its files.
    """
    return fetched_for_planning(sizes, (CONFIG_NAME, INDEX_NAME, ADAPTER_NAME))


def describe_remote(
    ref: ModelRef, directory: Path, names: Sequence[str], where: str, ranged: Ranged
) -> CheckpointIndex:
    """Index of a model elsewhere whose small files lie in `directory`, where its weights will lie.

    names: all its files.  where: what errors call it.  The directory's name is its commit. Raises
    CheckpointError: weights that cannot be read, or that its index names and that are not there.
    """
    for name in names:
        admit_name(name, where=where)
    chosen = choose_weights([name for name in names if "/" not in name], where)
    weight_map = read_weight_map(directory / INDEX_NAME) if chosen == INDEX_NAME else None
    files = weight_files(chosen, weight_map)
    missing = [file for file in files if file not in names]
    if missing:
        raise CheckpointError(
            "index names weight files that are not there",
            where=f"{where}: {missing[0]}",
            expected=f"{len(files)} files",
            found=f"{len(files) - len(missing)} files",
        )
    if all((directory / file).exists() for file in files):
        return read_directory(ref, directory, commit=directory.name)

    def header(file: str) -> Header:
        return _read_header(file, f"{where}: {file}", ranged)

    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        headers = dict(zip(files, pool.map(header, files), strict=True))
    return assemble(ref, directory, headers, weight_map, commit=directory.name)


def read_promised(
    read: Callable[[int, int], bytes | bytearray], start: int, size_bytes: int, where: str
) -> bytes | bytearray:
    """Read exactly `size_bytes` bytes from `start` on.

    Args:
        read: (first byte, number of bytes) -> what the server sent for them.  where: the file, for errors.

    Raises CheckpointError: the server sent fewer or more bytes, each time. A short read is never filled up.
    """
    found = 0
    for _ in range(_READ_ATTEMPTS):
        data = read(start, size_bytes)
        found = len(data)
        if found == size_bytes:
            return data
    raise CheckpointError(
        "the server sends another number of bytes than it promised",
        where=where,
        expected=f"{size_bytes:,} bytes at {start:,}",
        found=f"{found:,} bytes, {_READ_ATTEMPTS} times",
        hint="run the same command again; if it stays so, look at the proxy or gateway in between",
    )


def _read_header(file: str, where: str, ranged: Ranged) -> Header:
    first, size_bytes = ranged(file, 0, FIRST_READ_BYTES)
    length = header_bytes(bytes(first[:8]), file=where, size_bytes=size_bytes)
    if length > len(first):
        rest, size_now = ranged(file, len(first), length)
        if size_now != size_bytes:
            raise CheckpointError(
                "file changed while its header was read",
                where=where,
                expected=f"{size_bytes:,} bytes",
                found=f"{size_now:,} bytes",
            )
        first = first + rest
    return parse_header(bytes(first[:length]), file=where, size_bytes=size_bytes)


def fetch_missing(
    index: CheckpointIndex, variable: str, bring: Callable[[Sequence[FileEntry]], None]
) -> CheckpointIndex:
    """Have `bring` put the weights that are missing where the index expects them; the index of what is there.

    variable: what moves the cache to another disk. Raises CheckpointError: the disk is too small, or a file
    that came is not the one that was planned with.
    """
    missing = [file for file in index.files if not os.path.exists(file.path)]
    if not missing and all(file.mtime_ns for file in index.files):
        return index
    if missing:
        _check_room(index, missing, variable)
        bring(missing)
    fetched = read_directory(index.ref, Path(index.directory), commit=index.commit)
    _check_fetched(index, fetched)
    return fetched


def _check_room(index: CheckpointIndex, missing: Sequence[FileEntry], variable: str) -> None:
    needed, free = sum(file.size_bytes for file in missing), free_bytes(index.directory)
    if needed > free:
        raise CheckpointError(
            f'the weights of "{index.ref}" do not fit the disk of the local cache',
            where=index.directory,
            expected=f"{needed:,} bytes",
            found=f"{free:,} bytes free",
            hint=f"free some space, or set {variable} to a directory on another disk",
        )


def _check_fetched(planned: CheckpointIndex, fetched: CheckpointIndex) -> None:
    for before, after in zip(planned.files, fetched.files, strict=True):
        if (before.size_bytes, before.header_digest) != (after.size_bytes, after.header_digest):
            raise CheckpointError(
                "a fetched file is not the one that was described before",
                where=after.path,
                expected=f"{before.size_bytes:,} bytes, header {before.header_digest}",
                found=f"{after.size_bytes:,} bytes, header {after.header_digest}",
                hint="remove the file from the cache and fetch it again",
            )
