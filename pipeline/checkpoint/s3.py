"""Models in an S3 bucket: config and tokenizer are fetched, weights described by their headers alone.

As from a Hub: planning costs a few small files and one ranged read a weight file; `fetch_weights` brings the
weights when the plan stands, in ranges side by side. Files lie in the cache (`cache.py`) under a name that
stands for what the bucket lists, so a model that changes is another one. Account, region and address come
from where AWS's own programs have them: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_REGION,
AWS_ENDPOINT_URL. Never uploads anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pyarrow import ArrowException, fs

from cluster.progress import Progress
from pipeline.checkpoint.cache import cache_dir
from pipeline.checkpoint.choose import choose_weights
from pipeline.checkpoint.files import atomic_write, create_sized, digest_bytes, sync_file, write_from
from pipeline.checkpoint.index import CheckpointIndex, FileEntry
from pipeline.checkpoint.remote import (
    PARALLEL_READS,
    Ranged,
    describe_remote,
    fetch_missing,
    read_promised,
    small_files,
)
from pipeline.errors import CheckpointError
from pipeline.untrusted import SMALL_BYTES, admit_name
from pipeline.values import ModelRef

_RANGE_BYTES = 32 << 20
_MARKS = (0x55, 0xAA)


def read_s3_index(ref: ModelRef) -> CheckpointIndex:
    """Index of the model under `s3://bucket/folder` as the bucket lists it now.

    Its commit is a digest of names, sizes and times there. Raises CheckpointError: nothing there, no access,
    no network, a revision (buckets have none), weights that cannot be read.
    """
    if ref.revision is not None:
        raise CheckpointError(
            "a bucket has no revisions", where=str(ref), hint="give the folder of the version that is meant"
        )
    with _explained(ref):
        bucket = _connect(ref)
        listed = _list(bucket, ref)
        choose_weights([name for name in listed if "/" not in name], ref.path)  # nothing is fetched in vain
        directory = cache_dir() / "s3" / _root(ref) / _version(listed)
        directory.mkdir(parents=True, exist_ok=True)
        for name in _small(listed):
            if not (directory / name).is_file():
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                atomic_write(directory / name, bytes(_read(bucket, ref, name, listed[name].size)))
        return describe_remote(ref, directory, list(listed), ref.path, partial(_ranged, bucket, ref))


def fetch_s3_weights(index: CheckpointIndex) -> CheckpointIndex:
    """Bring the weights an index describes into the cache and return the index of the files there.

    Raises CheckpointError as `fetch_missing` does; the bucket has changed since it was planned with.
    """

    def bring(missing: Sequence[FileEntry]) -> None:
        with _explained(index.ref):
            bucket = _connect(index.ref)
            total = sum(file.size_bytes for file in missing)
            with Progress(total, f"fetching {index.ref}") as progress:
                for file in missing:
                    _fetch(bucket, index.ref, file, progress)
            found = _version(_list(bucket, index.ref))
        if found != index.commit:
            for file in missing:
                os.unlink(file.path)
            raise CheckpointError(
                "the bucket changed while its weights were fetched",
                where=index.ref.path,
                expected=f"version {index.commit}",
                found=f"version {found}",
                hint="start again: the model is planned as it is now",
            )

    return fetch_missing(index, "MERGESCALE_CACHE", bring)


def open_ranged(index: CheckpointIndex) -> Ranged:
    """Open the weights an index describes for reads of parts of them, over one connection."""
    with _explained(index.ref):
        bucket = _connect(index.ref)

    def ranged(name: str, start: int, stop: int) -> tuple[bytes | bytearray, int]:
        with _explained(index.ref):
            return _ranged(bucket, index.ref, name, start, stop)

    return ranged


def _connect(ref: ModelRef) -> Any:
    """The bucket's file system. Only AWS itself is asked for a region that nobody named."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region and not endpoint:
        region = fs.resolve_s3_region(_root(ref).partition("/")[0])
    return fs.S3FileSystem(endpoint_override=endpoint, region=region)


def _root(ref: ModelRef) -> str:
    """ "bucket/folder" of a reference."""
    return ref.path.removeprefix("s3://").strip("/")


def _list(bucket: Any, ref: ModelRef) -> dict[str, Any]:
    """Path in the folder -> what the bucket says of the file. CheckpointError for a path that leaves it."""
    found = bucket.get_file_info(fs.FileSelector(_root(ref), recursive=True))
    above = len(_root(ref)) + 1
    files = {info.path[above:]: info for info in found if info.type == fs.FileType.File}
    return {admit_name(name, where=ref.path): files[name] for name in sorted(files)}


def _version(listed: Mapping[str, Any]) -> str:
    """What the files of a model come to; another where one is replaced."""
    small = set(_small(listed))
    told = [
        [name, info.size, info.mtime_ns]
        for name, info in listed.items()
        if name in small or ("/" not in name and name.endswith(".safetensors"))
    ]
    return digest_bytes(json.dumps(told).encode())


def _small(listed: Mapping[str, Any]) -> list[str]:
    """The files that are fetched for planning."""
    return small_files({name: info.size for name, info in listed.items()})


def _read(bucket: Any, ref: ModelRef, name: str, size_bytes: int) -> bytes | bytearray:
    """Read a small file of the size that the listing promised."""
    where = f"{ref.path.rstrip('/')}/{name}"
    if size_bytes > SMALL_BYTES:
        raise CheckpointError(
            "file is too long to be what its name says",
            where=where,
            expected=f"at most {SMALL_BYTES:,} bytes",
            found=f"{size_bytes:,} bytes",
        )
    with bucket.open_input_file(f"{_root(ref)}/{name}") as file:
        return read_promised(partial(_read_at, file), 0, size_bytes, where)


def _read_at(file: Any, start: int, size_bytes: int) -> bytearray:
    """What the bucket sends for a range; fewer bytes where the answer ends before.

    The client says that it read all it was asked for even when the answer was shorter, and leaves the rest of
    the buffer as it was. So the buffer's last byte is marked first: where the mark still stands, the range is
    read again with another mark, and no byte can equal both.
    """
    buffer = bytearray(size_bytes)
    for mark in _MARKS if size_bytes else ():
        buffer[-1] = mark
        file.seek(start)
        answered_bytes = file.readinto(buffer)
        if answered_bytes < size_bytes:
            return buffer[:answered_bytes]
        if buffer[-1] != mark:
            return buffer
    return buffer[:-1]


def _ranged(bucket: Any, ref: ModelRef, name: str, start: int, stop: int) -> tuple[bytes | bytearray, int]:
    """Bytes [start, stop) of a file, fewer at its end, and the size of the whole file."""
    with bucket.open_input_file(f"{_root(ref)}/{name}") as file:
        size_bytes = int(file.size())
        wanted = max(0, min(stop, size_bytes) - start)
        where = f"{ref.path.rstrip('/')}/{name}"
        return read_promised(partial(_read_at, file), start, wanted, where), size_bytes


def _fetch(bucket: Any, ref: ModelRef, file: FileEntry, progress: Progress) -> None:
    """One weight file, in ranges side by side; it has its name only when it is whole."""
    place = Path(file.path)
    beside = place.with_name(f".{place.name}.{os.getpid()}.part")
    create_sized(beside, file.size_bytes, b"")
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CLOEXEC)
        try:
            with ThreadPoolExecutor(PARALLEL_READS) as pool:

                def bring(start: int) -> None:
                    size = min(_RANGE_BYTES, file.size_bytes - start)
                    with bucket.open_input_file(f"{_root(ref)}/{place.name}") as source:
                        data = read_promised(partial(_read_at, source), start, size, f"{ref}: {place.name}")
                    write_from(fd, memoryview(data), start)
                    progress.advance(size)

                list(pool.map(bring, range(0, file.size_bytes, _RANGE_BYTES)))
        finally:
            os.close(fd)
        sync_file(beside)
        os.replace(beside, place)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _explained(ref: ModelRef) -> Iterator[None]:
    """Turn what the S3 client raises, also about answers that make no sense, into one CheckpointError."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, ArrowException) as error:
        access = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
        raise CheckpointError(
            f'the model "{ref}" cannot be read from its bucket',
            where=ref.path,
            expected="a folder with config.json and safetensors weights",
            found=(str(error) or type(error).__name__).splitlines()[0],
            hint=f"check bucket and folder, {access}, and AWS_ENDPOINT_URL where it is not AWS",
        ) from error
