"""What models on a Hub and in a bucket have in common: what is fetched first, room for it, no surprises."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.checkpoint.choose import ADAPTER_NAME, CONFIG_NAME, COPIED
from pipeline.checkpoint.files import free_bytes
from pipeline.checkpoint.index import CheckpointIndex, FileEntry
from pipeline.checkpoint.layout import INDEX_NAME
from pipeline.errors import CheckpointError

#: Small files that are fetched for planning, as shell patterns.
BESIDE_WEIGHTS = (*COPIED, CONFIG_NAME, INDEX_NAME, ADAPTER_NAME, "*.py")
#: The first read of a header: most are shorter, and a second request costs more than the bytes.
FIRST_READ_BYTES = 512 << 10
PARALLEL_READS = 8


def missing_files(present: Sequence[str], wanted: Sequence[str], where: str) -> None:
    """CheckpointError when an index names weight files that are not there."""
    missing = [file for file in wanted if file not in present]
    if missing:
        raise CheckpointError(
            "index names weight files that are not there",
            where=f"{where}: {missing[0]}",
            expected=f"{len(wanted)} files",
            found=f"{len(wanted) - len(missing)} files",
        )


def check_room(index: CheckpointIndex, missing: Sequence[FileEntry], variable: str) -> None:
    """CheckpointError when what is missing does not fit the disk. variable: what moves the cache."""
    needed, free = sum(file.size_bytes for file in missing), free_bytes(index.directory)
    if needed > free:
        raise CheckpointError(
            f'the weights of "{index.ref}" do not fit the disk of the local cache',
            where=index.directory,
            expected=f"{needed:,} bytes",
            found=f"{free:,} bytes free",
            hint=f"free some space, or set {variable} to a directory on another disk",
        )


def check_fetched(planned: CheckpointIndex, fetched: CheckpointIndex) -> None:
    """CheckpointError when a file that came is not the one that was planned with."""
    for before, after in zip(planned.files, fetched.files, strict=True):
        if (before.size_bytes, before.header_digest) != (after.size_bytes, after.header_digest):
            raise CheckpointError(
                "a fetched file is not the one that was described before",
                where=after.path,
                expected=f"{before.size_bytes:,} bytes, header {before.header_digest}",
                found=f"{after.size_bytes:,} bytes, header {after.header_digest}",
                hint="remove the file from the cache and fetch it again",
            )
