"""Readers of what comes from outside: bounded, and a refusal in words for everything else."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from pipeline.errors import LIST_ITEM, CheckpointError, InputError, shown
from pipeline.untrusted import (
    admit_name,
    canonical_json,
    is_relative_name,
    parse_json,
    parse_whole,
    read_json,
    read_small,
)


def test_read_small_never_waits(tmp_path: Path) -> None:
    """A FIFO without a writer, a device and a directory are refused at once."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, found in (("pipe", "named pipe"), ("zero", "device"), (".", "directory")):
        with pytest.raises(CheckpointError, match=found):
            read_small(tmp_path / name)


def test_read_small_is_bounded(tmp_path: Path) -> None:
    """A file of exactly the limit is read, one byte more is refused, however large it claims to be."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    assert read_small(path, limit_bytes=10) == b"x" * 10
    with pytest.raises(CheckpointError, match="at most 9 bytes"):
        read_small(path, limit_bytes=9)
    os.truncate(path, 1 << 40)
    with pytest.raises(CheckpointError, match="1,099,511,627,776"):
        read_small(path, limit_bytes=100)


def test_read_small_links(tmp_path: Path) -> None:
    """Links are followed where that is asked for, never for files of our own; a broken one is not there."""
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "broken").symlink_to("nowhere")
    assert read_small(tmp_path / "link") == b"data"
    with pytest.raises(InputError, match="cannot be read"):
        read_small(tmp_path / "link", follow_links=False, error=InputError)
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path / "broken")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '"\\ud800"', "1" * 5000, "{", "", b"\xff", '{"a": "\\udc00"}'], ids=range(7)
)
def test_json_that_cannot_be_written_again_is_refused(text: str | bytes) -> None:
    """Deep nesting, half surrogates, endless numbers and no JSON at all: one ValueError of one line."""
    with pytest.raises(ValueError) as caught:
        parse_json(text)
    assert "\n" not in str(caught.value)


def test_infinity_survives(tmp_path: Path) -> None:
    """What configs of Mamba2 hold is read, and the canonical text is read back equal."""
    (tmp_path / "config.json").write_text('{"time_step_limit": [0.0, Infinity], "b": -Infinity}')
    value = read_json(tmp_path / "config.json")
    assert value["time_step_limit"][1] == math.inf
    assert json.loads(canonical_json(value)) == value


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../x",
        "a//b",
        "./a",
        "a\0b",
        "a\nb",
        "a\\b",
        "x" * 256,
        "\ud800",
        5,
        None,
    ],
    ids=ascii,
)
def test_names_that_leave_are_refused(name: object) -> None:
    """A name that climbs, is absolute, or that no file can have, is not admitted."""
    assert not is_relative_name(name)
    with pytest.raises(CheckpointError, match="file name from outside"):
        admit_name(name, where="s3://bucket/m")


@pytest.mark.parametrize("name", ["config.json", "1_Pooling/config.json", "ü.model", "..a", "a..b"])
def test_ordinary_names_are_admitted(name: str) -> None:
    """Names of files and of files in folders pass unchanged."""
    assert admit_name(name, where="here") == name


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), (" 0012 ", 12), ("1_000", 1000), ("0", 0)]
    + [(text, None) for text in ("9" * 5000, "-1", "1.5", "", "10**9", "٣")],
)
def test_whole_numbers(text: str, value: int | None) -> None:
    """A whole number in its range is read, anything else names what it was for."""
    if value is not None:
        assert parse_whole(text, "the seed") == value
    else:
        with pytest.raises(InputError, match="the seed"):
            parse_whole(text, "the seed")


def test_errors_print_one_line_a_field() -> None:
    """Control characters and line ends in what was found are escaped; our own lists keep their lines."""
    error = InputError("bad\x1b]0;owned\x07", where="a\nerror: all is well", found=LIST_ITEM.join("xy"))
    assert "\x1b" not in str(error) and "\x07" not in str(error)
    assert str(error).splitlines()[1:] == [
        "  where:    a\\nerror: all is well",
        "  found:    x",
        " " * 12 + "y",
    ]
    assert len(str(InputError("x" * 200_000))) < 5000


def test_shown() -> None:
    """Text from outside becomes printable and short, and ordinary text stays as it is."""
    assert shown("models/ü — ok") == "models/ü — ok"
    assert shown("a\x1bb\u202ec") == "a\\x1bb\\u202ec"
    assert len(shown("x" * 999, 10)) == 10
