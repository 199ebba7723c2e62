"""Broken safetensors files: each breaks one rule of the format and must end in the error that says which."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from pipeline.checkpoint.header import MAX_HEADER_BYTES, MAX_TENSORS, header_bytes, read_header
from pipeline.errors import CheckpointError

GOOD: dict[str, Any] = {
    "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    "b": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [8, 16]},
}
EMPTY = {"dtype": "I64", "shape": [3, 0], "data_offsets": [8, 8]}
DATA = bytes(16)


def stored(header: object, data: bytes = DATA) -> bytes:
    """A file with this header (JSON made of a value, or raw bytes) and data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def changed(name: str, **fields: object) -> dict[str, Any]:
    """The good header with some fields of one tensor replaced."""
    return {**GOOD, name: {**GOOD[name], **fields}}


def refuse(path: Path, content: bytes) -> CheckpointError:
    """Read a file with this content and return the error that it must cause."""
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_header(str(path))
    assert str(path) in caught.value.where
    return caught.value


def test_the_good_file_is_good(tmp_path: Path) -> None:
    """The file that every hostile one is made from is accepted, with absolute offsets."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(stored(GOOD))
    header = read_header(str(path))
    first = path.stat().st_size - len(DATA)
    assert {name: start for name, (_, start) in header.tensors.items()} == {"a": first, "b": first + 8}
    assert header.size_bytes == path.stat().st_size
    assert header.mtime_ns == path.stat().st_mtime_ns


def test_entries_may_stand_in_any_order(tmp_path: Path) -> None:
    """The order of the JSON does not matter, only that the bytes tile; tensors come by their bytes."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(stored({"b": GOOD["b"], "empty": EMPTY, "a": GOOD["a"]}))
    assert list(read_header(str(path)).tensors) == ["a", "empty", "b"]


def test_the_limits_themselves_are_allowed() -> None:
    """A header of exactly 100 MB passes, and so does one that ends with its file; a byte more does not."""
    limit = 100_000_000
    assert header_bytes(struct.pack("<Q", limit), file="x", size_bytes=limit + 8) == limit + 8
    for length, size_bytes in ((limit, limit + 7), (limit + 1, limit + 9)):
        with pytest.raises(CheckpointError):
            header_bytes(struct.pack("<Q", length), file="x", size_bytes=size_bytes)


NOT_A_HEADER = {
    "empty file": (b"", "file is too short to be safetensors"),
    "seven bytes": (b"\x01" * 7, "file is too short to be safetensors"),
    "header of 2^64 - 1 bytes": (b"\xff" * 8, "header is longer than the format allows"),
    "header above the limit": (
        struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{}",
        "header is longer than the format allows",
    ),
    "header beyond the file": (struct.pack("<Q", 100) + b"{}", "file ends inside its header"),
    "Git LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "weights are a Git LFS pointer, not the file itself",
    ),
    "pickle": (b"PK\x03\x04" + bytes(100), "file ends inside its header"),
    "not UTF-8": (stored(b'{"\xff": 1}'), "header is not UTF-8"),
    "UTF-16": (stored('{"a": 1}'.encode("utf-16")), "header is not UTF-8"),
    "empty header": (stored(b""), "header does not begin with an object"),
    "blank before the brace": (stored(b" {}"), "header does not begin with an object"),
    "a list": (stored([1, 2]), "header does not begin with an object"),
    "a page of HTML": (stored(b"<!DOCTYPE html>"), "header does not begin with an object"),
    "half an object": (stored(b'{"a": {'), "header is not JSON"),
    "something after the object": (stored(b"{} {}"), "header is not JSON"),
    "a number of 10,000 digits": (stored(b'{"a": ' + b"9" * 10_000 + b"}"), "header is not JSON"),
    "lists 100,000 deep": (stored(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "header is not JSON"),
    "a tensor twice": (
        stored(b'{"a": %s, "a": %s}' % ((json.dumps(GOOD["a"]).encode(),) * 2)),
        "header names an entry twice",
    ),
    "a field twice": (
        stored(b'{"a": {"dtype": "F32", "dtype": "F16", "shape": [2], "data_offsets": [0, 8]}}', bytes(8)),
        "header names an entry twice",
    ),
    "metadata of numbers": (
        stored({"__metadata__": {"a": 1}, **GOOD}),
        "header metadata is not a map of strings",
    ),
    "metadata a list": (stored({"__metadata__": [], **GOOD}), "header metadata is not a map of strings"),
}


@pytest.mark.parametrize("case", NOT_A_HEADER)
def test_what_is_no_header_is_refused(case: str, tmp_path: Path) -> None:
    """A file whose beginning is no safetensors header is named, with the rule it breaks."""
    content, what = NOT_A_HEADER[case]
    assert refuse(tmp_path / "x.safetensors", content).what == what


BAD_ENTRIES = {
    "no object": ({**GOOD, "a": 3}, "header entry is malformed", "int"),
    "no offsets": (
        {**GOOD, "a": {"dtype": "F32", "shape": [2]}},
        "header entry is malformed",
        "['dtype', 'shape']",
    ),
    "a field too many": (changed("a", extra=1), "header entry is malformed", "extra"),
    "unknown type": (changed("a", dtype="F31"), "unknown storage type", "F31"),
    "type no text": (changed("a", dtype=["F32"]), "unknown storage type", "['F32']"),
    "shape no list": (changed("a", shape=2), "shape is malformed", "2"),
    "negative size": (changed("a", shape=[-2]), "shape is malformed", "[-2]"),
    "fractional size": (changed("a", shape=[2.0]), "shape is malformed", "[2.0]"),
    "true as a size": (changed("a", shape=[True, 2]), "shape is malformed", "[True, 2]"),
    "size beyond any machine": (changed("a", shape=[0, 2**63]), "shape is malformed", str(2**63)),
    "deep shape": (changed("a", shape=json.loads("[" * 300 + "]" * 300)), "shape is malformed", "[...]"),
    "three offsets": (changed("a", data_offsets=[0, 8, 8]), "data offsets are malformed", "[0, 8, 8]"),
    "negative offset": (changed("a", data_offsets=[-8, 0]), "data offsets are malformed", "[-8, 0]"),
    "offsets as text": (changed("a", data_offsets=["0", "8"]), "data offsets are malformed", "['0', '8']"),
    "offsets reversed": (changed("a", data_offsets=[8, 0]), "data offsets are reversed", "start 8, stop 0"),
    "too few bytes": (changed("a", shape=[3]), "size of a tensor contradicts its shape and type", "8 bytes"),
    "shape overflows 64 bits": (
        changed("a", shape=[2**32, 2**32]),
        "size of a tensor contradicts its shape and type",
        "8 bytes",
    ),
    "overlap": (changed("b", data_offsets=[4, 12]), "tensors overlap", "data starts at 4"),
    "same bytes twice": ({**GOOD, "c": GOOD["b"]}, "tensors overlap", "data starts at 8"),
    "hole": (
        changed("b", data_offsets=[12, 20]),
        "bytes between two tensors belong to none",
        "data starts at 12",
    ),
    "hole before the first": (
        {"a": {**GOOD["a"], "data_offsets": [8, 16]}},
        "bytes between two tensors belong to none",
        "data starts at 8",
    ),
}


@pytest.mark.parametrize("case", BAD_ENTRIES)
def test_a_bad_entry_is_refused_by_tensor(case: str, tmp_path: Path) -> None:
    """A tensor that breaks a rule is named in `where`, and `found` shows what was there."""
    header, what, found = BAD_ENTRIES[case]
    error = refuse(tmp_path / "x.safetensors", stored(header, bytes(20)))
    assert error.what == what
    assert "tensor" in error.where
    assert found in error.found
    assert error.expected
    assert error.hint


def test_a_name_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    """A lone surrogate, which JSON can spell but no file can hold, is refused."""
    error = refuse(tmp_path / "x.safetensors", stored(json.dumps({"\ud800": GOOD["a"]}).encode(), bytes(8)))
    assert error.what == "tensor name is not valid Unicode"
    assert "\\ud800" in error.found


@pytest.mark.parametrize("code", ["F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "F8_E4M3FNUZ"])
def test_types_without_scales_are_refused_with_the_reason(code: str, tmp_path: Path) -> None:
    """fp8, fp6 and fp4 weights are refused because their scales lie elsewhere, and the way out is told."""
    error = refuse(tmp_path / "x.safetensors", stored(changed("a", dtype=code)))
    assert "scales" in error.what
    assert error.found == code
    assert "dequantise" in error.hint


def test_a_truncated_file_is_told_by_its_sizes(tmp_path: Path) -> None:
    """One byte short, and both sizes are given."""
    whole = stored(GOOD)
    error = refuse(tmp_path / "x.safetensors", whole[:-1])
    assert error.what == "file is truncated"
    assert (error.expected, error.found) == (f"{len(whole)} bytes", f"{len(whole) - 1} bytes")


def test_bytes_after_the_last_tensor_are_refused(tmp_path: Path) -> None:
    """A file one byte too long is not what its header says."""
    error = refuse(tmp_path / "x.safetensors", stored(GOOD) + b"x")
    assert error.what == "file has bytes after its last tensor"


@pytest.mark.parametrize("kind", ["directory", "pipe"])
def test_what_is_no_file_is_refused_without_waiting(kind: str, tmp_path: Path) -> None:
    """A directory or a named pipe in place of the weights is refused at once."""
    path = tmp_path / "x.safetensors"
    path.mkdir() if kind == "directory" else os.mkfifo(path)
    with pytest.raises(CheckpointError) as caught:
        read_header(str(path))
    assert (caught.value.what, caught.value.where) == ("weights are not a regular file", str(path))


@pytest.mark.parametrize("target", ["x.safetensors", "gone"])
def test_links_that_lead_nowhere_are_refused(target: str, tmp_path: Path) -> None:
    """A link to itself or to a removed file is an error that names it."""
    path = tmp_path / "x.safetensors"
    path.symlink_to(target)
    with pytest.raises(CheckpointError) as caught:
        read_header(str(path))
    assert (caught.value.what, caught.value.where) == ("weights cannot be read", str(path))
    assert caught.value.found


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's refusal is shown, the hint speaks of permissions (played, as root may read all)."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(stored(GOOD))

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", forbidden)
    with pytest.raises(CheckpointError) as caught:
        read_header(str(path))
    assert caught.value.found == "Permission denied"
    assert "permissions" in caught.value.hint


def test_headers_of_bounded_work(tmp_path: Path) -> None:
    """A header of more entries than any model has, or of millions of empty lists, is refused unparsed."""
    many = (
        b"{" + b",".join(b'"%d":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]' % i for i in range(MAX_TENSORS + 1)) + b"}"
    )
    error = refuse(tmp_path / "x.safetensors", stored(many))
    assert "more than any model holds" in error.what
    error = refuse(tmp_path / "x.safetensors", stored(b'{"a":[' + b"[]," * 9_000_000 + b"[]]}"))
    assert "more than any model holds" in error.what


def test_brackets_in_texts_are_no_values(tmp_path: Path) -> None:
    """Metadata may hold texts of millions of brackets and commas: only values of the header itself count."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(stored({"__metadata__": {"notes": '[{,"\\' * 2_000_000}, **GOOD}))
    assert len(read_header(str(path)).tensors) == 2
