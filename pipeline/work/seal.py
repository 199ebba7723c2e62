"""Read finished bytes back from the disk and hold them against the receipts. It never writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

from pipeline.checkpoint.buffers import page_buffer
from pipeline.checkpoint.files import OpenFiles, digest_file, read_into
from pipeline.errors import VerifyError

_CHUNK_BYTES = 4 << 20


def seal(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Digest of a whole output file (`payload["path"]`), read once; every piece in it must have its receipt's
    digest.

    `payload["pieces"]` lists (first byte, end byte, digest) in file order, without overlap. Raises
    VerifyError naming the file and the byte range that differs.
    """
    path: str = payload["path"]
    whole, buffer, at = xxhash.xxh3_128(), page_buffer(_CHUNK_BYTES), 0
    size_bytes = Path(path).stat().st_size
    spans = [*payload["pieces"], (size_bytes, size_bytes, None)]
    with OpenFiles() as files:
        for start, stop, expected in spans:
            for first, last, hasher in ((at, start, None), (start, stop, xxhash.xxh3_128())):
                for offset in range(first, last, _CHUNK_BYTES):
                    view = buffer[: min(_CHUNK_BYTES, last - offset)]
                    read_into(files.reading(path), view, offset)
                    whole.update(view)
                    if hasher is not None:
                        hasher.update(view)
            if expected is not None and hasher is not None and hasher.hexdigest() != expected:
                raise VerifyError(
                    "bytes on disk are not the ones that were merged",
                    where=f"{path}: bytes {start}-{stop}",
                    expected=expected,
                    found=hasher.hexdigest(),
                    hint="run the same command again: the damaged part is merged anew; check the disk",
                )
            at = stop
    return {"digest": whole.hexdigest()}


def intact(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Whether every piece of a finished unit still has the digest that its receipt names.

    `payload["pieces"]` lists (path, first byte, end byte, digest).
    """
    same = all(
        digest_file(Path(path), start, stop) == digest for path, start, stop, digest in payload["pieces"]
    )
    return {"intact": same}
