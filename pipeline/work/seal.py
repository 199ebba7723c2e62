"""Read finished bytes back from the disk and hold them against the receipts. It never writes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import xxhash

from pipeline.checkpoint.buffers import page_buffer
from pipeline.checkpoint.files import digest_range, read_into
from pipeline.checkpoint.own import opened_own
from pipeline.errors import VerifyError

_CHUNK_BYTES = 4 << 20


def seal(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Digest a whole output file (`payload["path"]`), read once; each piece of it must have its own digest.

    `payload["pieces"]` lists (first byte, end byte, digest) in file order: the header as the plan has it,
    then the pieces as their receipts have them. Together they must be the file, so that every byte is proven.

    Raises VerifyError naming the file and the byte range that differs.
    """
    path: str = payload["path"]
    whole, buffer, at = xxhash.xxh3_128(), page_buffer(_CHUNK_BYTES), 0
    with opened_own(path) as descriptor:
        size_bytes = os.fstat(descriptor).st_size
        for start, stop, expected in payload["pieces"]:
            if start != at or stop > size_bytes:
                raise _differs(
                    f"{path}: bytes {at}-{max(start, stop)}",
                    f"a piece up to byte {stop}",
                    f"{size_bytes} bytes",
                )
            part = xxhash.xxh3_128()
            for offset in range(start, stop, _CHUNK_BYTES):
                view = buffer[: min(_CHUNK_BYTES, stop - offset)]
                read_into(descriptor, view, offset)
                whole.update(view)
                part.update(view)
            if part.hexdigest() != expected:
                raise _differs(f"{path}: bytes {start}-{stop}", expected, part.hexdigest())
            at = stop
    if at != size_bytes:
        raise _differs(f"{path}: bytes {at}-{size_bytes}", f"{at} bytes in all", f"{size_bytes} bytes")
    return {"digest": whole.hexdigest()}


def intact(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Whether every piece of a finished unit still has the digest that its receipt names.

    `payload["pieces"]` lists (path, first byte, end byte, digest).
    """
    return {"intact": all(_is_intact(*piece) for piece in payload["pieces"])}


def _is_intact(path: str, start: int, stop: int, digest: str) -> bool:
    with opened_own(path) as descriptor:
        return digest_range(descriptor, start, stop) == digest


def _differs(where: str, expected: str, found: str) -> VerifyError:
    return VerifyError(
        "bytes on disk are not the ones that were merged",
        where=where,
        expected=expected,
        found=found,
        hint="run the same command again: the damaged part is merged anew; check the disk",
    )
