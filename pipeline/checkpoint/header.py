"""The header of one safetensors file: every rule of the format checked, each broken rule one clear error.

Pure but for `read_header`, which reads the first bytes of one file and never its weights. The same parser
serves local files and headers fetched from a Hub.

A file is: 8 bytes of little-endian length, that many bytes of JSON, then the tensors without hole or overlap.
"""

from __future__ import annotations

import json
import os
import reprlib
import stat
import struct
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import xxhash

from pipeline.errors import CheckpointError
from pipeline.untrusted import count_json_values
from pipeline.values import DTYPES, TensorSpec

MAX_HEADER_BYTES = 100_000_000
#: The largest models have some 200,000 tensors over all of their files; every one costs time and memory.
MAX_TENSORS = 250_000
#: What their entries come to: braces, brackets and commas.
_MAX_VALUES = 16 * MAX_TENSORS
_LENGTH_BYTES = 8
_MAX_DIM = 2**63
_COMPLETE = "copy or download the file again, and compare its size with the source"
#: Types of the format that cannot be merged from this file alone, and why.
_REFUSED = {
    "C64": "complex numbers are no storage type of a language model",
    **dict.fromkeys(
        ("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F6_E2M3", "F6_E3M2", "F4"),
        "fp8, fp6 and fp4 weights mean nothing without their scales, and averaging them as they are is wrong",
    ),
}


@dataclass(frozen=True)
class Header:
    """What one file says about itself.

    tensors: name -> (spec, absolute offset of the first byte), in the order of the bytes.
    size_bytes: of the file.  digest: xxh3_128 of the header with its length field.
    mtime_ns: time of the last change; 0 for a file that is not on this machine yet.
    inode, ctime_ns: which file it is, and when that last changed in any way; 0 likewise.
    """

    tensors: dict[str, tuple[TensorSpec, int]]
    size_bytes: int
    digest: str
    mtime_ns: int = 0
    inode: int = 0
    ctime_ns: int = 0


def read_header(path: str) -> Header:
    """Read and check the header of the file at `path`. Raises CheckpointError; reads no tensor bytes."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CheckpointError("weights are not a regular file", where=path, expected="a safetensors file")
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())  # of the very file that is read
            blob = file.read(_LENGTH_BYTES)
            blob += file.read(header_bytes(blob, file=path, size_bytes=status.st_size) - _LENGTH_BYTES)
    except OSError as error:
        raise CheckpointError(
            "weights cannot be read",
            where=path,
            found=error.strerror or str(error),
            hint="check the permissions, and that links do not point to removed files",
        ) from error
    header = parse_header(blob, file=path, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
    return replace(header, inode=status.st_ino, ctime_ns=status.st_ctime_ns)


def header_bytes(prefix: bytes, *, file: str, size_bytes: int) -> int:
    """Length of the header with its length field, from the first 8 bytes of a file of `size_bytes`."""
    if prefix.startswith(b"version "):
        raise CheckpointError(
            "weights are a Git LFS pointer, not the file itself",
            where=file,
            expected="a safetensors file",
            found=f"{size_bytes} bytes of text",
            hint="run `git lfs pull` in the repository",
        )
    if len(prefix) < _LENGTH_BYTES:
        raise CheckpointError(
            "file is too short to be safetensors",
            where=file,
            expected="at least 8 bytes",
            found=f"{size_bytes} bytes",
            hint=_COMPLETE,
        )
    length: int = struct.unpack("<Q", prefix[:_LENGTH_BYTES])[0]
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(
            "header is longer than the format allows",
            where=file,
            expected=f"at most {MAX_HEADER_BYTES:,} bytes",
            found=f"{length:,} bytes",
            hint="check that this is a safetensors file",
        )
    if length > size_bytes - _LENGTH_BYTES:
        raise CheckpointError(
            "file ends inside its header",
            where=file,
            expected=f"{_LENGTH_BYTES + length:,} bytes of header",
            found=f"{size_bytes:,} bytes in all",
            hint=_COMPLETE,
        )
    return _LENGTH_BYTES + length


def parse_header(blob: bytes, *, file: str, size_bytes: int, mtime_ns: int = 0) -> Header:
    """Check a header (length field and JSON) against the format's rules and the size of its file.

    Raises CheckpointError whose `where` names the file and, where one is to blame, the tensor.
    """
    length = header_bytes(blob[:_LENGTH_BYTES], file=file, size_bytes=size_bytes)
    if len(blob) != length:
        raise CheckpointError(
            "file changed while its header was read",
            where=file,
            expected=f"{length} bytes",
            found=f"{len(blob)} bytes",
        )
    table = _json_object(blob[_LENGTH_BYTES:], file)
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError("header metadata is not a map of strings", where=f"{file}: __metadata__")
    if len(table) > MAX_TENSORS:
        _refuse_size(file, f"{len(table):,} tensors")
    rows = [_row(name, value, file) for name, value in table.items()]
    rows.sort(key=lambda row: (row[1], row[2]))
    _check_tiling(rows, length, file, size_bytes)
    return Header(
        tensors={spec.name: (spec, length + start) for spec, start, _ in rows},
        size_bytes=size_bytes,
        digest=xxhash.xxh3_128_hexdigest(blob),
        mtime_ns=mtime_ns,
    )


def _json_object(raw: bytes, file: str) -> dict[str, Any]:
    if count_json_values(raw, _MAX_VALUES) > _MAX_VALUES:
        _refuse_size(file, f"more than {_MAX_VALUES:,} values")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError("header is not UTF-8", where=file, found=str(error), hint=_COMPLETE) from error
    if not text.startswith("{"):
        raise CheckpointError(
            "header does not begin with an object",
            where=file,
            expected="{",
            found=repr(text[:1]),
            hint="check that this is a safetensors file",
        )

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise CheckpointError("header names an entry twice", where=file, found=ascii(twice))
        return table

    try:
        # An object is certain here: the text begins with a brace.
        table: dict[str, Any] = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError("header is not JSON", where=file, found=str(error), hint=_COMPLETE) from error
    return table


def _row(name: str, value: Any, file: str) -> tuple[TensorSpec, int, int]:
    """One entry of the header, checked by itself: (spec, start, stop) with offsets relative to the data."""
    where = f"{file}: tensor {json.dumps(name)}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        found = sorted(value) if isinstance(value, dict) else type(value).__name__
        _refuse("header entry is malformed", where, "dtype, shape and data_offsets", str(found))
    if not _encodable(name):
        _refuse("tensor name is not valid Unicode", where, "UTF-8", ascii(name))
    code, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        _refuse_dtype(code, where)
    if not isinstance(shape, list) or not all(type(dim) is int and 0 <= dim < _MAX_DIM for dim in shape):
        _refuse("shape is malformed", where, "a list of sizes from 0 to 2^63 - 1", reprlib.repr(shape))
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(type(offset) is int and offset >= 0 for offset in offsets)
    ):
        _refuse("data offsets are malformed", where, "two byte offsets", reprlib.repr(offsets))
    start, stop = offsets
    if stop < start:
        _refuse("data offsets are reversed", where, "start <= stop", f"start {start}, stop {stop}")
    spec = TensorSpec(name, DTYPES[code], tuple(shape))
    if stop - start != spec.size_bytes:
        wanted = f"{spec.size_bytes} bytes for {code} {shape}"
        _refuse("size of a tensor contradicts its shape and type", where, wanted, f"{stop - start} bytes")
    return spec, start, stop


def _check_tiling(rows: list[tuple[TensorSpec, int, int]], length: int, file: str, size_bytes: int) -> None:
    """The tensors, sorted by offset, must cover the rest of the file exactly once."""
    position = 0
    for spec, start, stop in rows:
        if start != position:
            what = "tensors overlap" if start < position else "bytes between two tensors belong to none"
            where = f"{file}: tensor {json.dumps(spec.name)}"
            _refuse(what, where, f"data to start at {position}", f"data starts at {start}")
        position = stop
    if length + position > size_bytes:
        raise CheckpointError(
            "file is truncated",
            where=file,
            expected=f"{length + position:,} bytes",
            found=f"{size_bytes:,} bytes",
            hint=_COMPLETE,
        )
    if length + position < size_bytes:
        _refuse(
            "file has bytes after its last tensor",
            file,
            f"{length + position:,} bytes",
            f"{size_bytes:,} bytes",
        )


def _refuse_dtype(code: Any, where: str) -> NoReturn:
    if isinstance(code, str) and code in _REFUSED:
        raise CheckpointError(
            f"tensors of type {code} cannot be merged: {_REFUSED[code]}",
            where=where,
            expected=", ".join(DTYPES),
            found=code,
            hint="merge the bf16, fp16 or fp32 original, or dequantise the model first",
        )
    _refuse("unknown storage type", where, ", ".join(DTYPES), reprlib.repr(code))


def _refuse(what: str, where: str, expected: str, found: str) -> NoReturn:
    hint = "write the file again with the safetensors library"
    raise CheckpointError(what, where=where, expected=expected, found=found, hint=hint)


def _refuse_size(file: str, found: str) -> NoReturn:
    raise CheckpointError(
        "header describes more than any model holds",
        where=file,
        expected=f"at most {MAX_TENSORS:,} tensors in one file",
        found=found,
        hint="check that this is a model's weight file, or write the model in several files",
    )


def _encodable(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
