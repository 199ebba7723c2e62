"""Files to plain data: what YAML and JSON mean here, and which files are no config at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.text import MAX_SIZE_BYTES, read_file
from pipeline.errors import ConfigError


def read(tmp_path: Path, text: str | bytes, name: str = "m.yaml") -> Any:
    """What a file of that content holds."""
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_file(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1e-5", {"a": 1e-5}),
        ("a: [1.0e9, -2.E3]", {"a": [1e9, -2000.0]}),
        ("a: [1E3, +2e5, -1e+2]", {"a": [1000.0, 200000.0, -100.0]}),
        ("a: '1e-5'", {"a": "1e-5"}),
        ("a: 1.5e-3", {"a": 0.0015}),
        ("a: e5", {"a": "e5"}),
        ("a: true", {"a": True}),
        ("\ufeffa: ü", {"a": "ü"}),
        ("--- # first\na: 1\n---\n", {"a": 1}),
        ('{"a": 1}', {"a": 1}),
        ("x: &x {p: 1, q: 2}\ny: {<<: *x, q: 3}\n", {"x": {"p": 1, "q": 2}, "y": {"p": 1, "q": 3}}),
        (
            "x: &x {p: 1}\nz: &z {p: 2, r: 2}\ny: {<<: [*x, *z]}\n",
            {"x": {"p": 1}, "z": {"p": 2, "r": 2}, "y": {"p": 1, "r": 2}},
        ),
        (
            "x: &x {p: 1}\ny: &y {<<: *x, p: 2}\nz: {<<: *y, p: 3}",
            {"x": {"p": 1}, "y": {"p": 2}, "z": {"p": 3}},
        ),
    ],
)
def test_yaml(tmp_path: Path, text: str, value: object) -> None:
    """YAML means what PyYAML says, except that 1e-5 and 1.0e9 are numbers; merge keys override in order."""
    assert read(tmp_path, text) == value
    found = read(tmp_path, text, "m.conf")
    assert found == value


@pytest.mark.parametrize("name", ["m.json", "m.JSON", "config", "m.txt"])
def test_json(tmp_path: Path, name: str) -> None:
    """JSON is read as JSON where the name or the text says so, byte order mark, tabs and escapes included."""
    assert read(tmp_path, '\ufeff\n{\n\t"a": [1e-5, true, null, "\\u00fc"]\n}\n', name) == {
        "a": [1e-5, True, None, "ü"]
    }


@pytest.mark.parametrize(
    ("name", "text", "where", "what", "found"),
    [
        ("m.yaml", "", "", "empty", "nothing"),
        ("m.json", " \n", "", "empty", "nothing"),
        ("m.yaml", "# nothing\n---\n", "", "empty", "nothing"),
        ("m.yaml", "a: 1\n b: 2\n", ": line 2, column 3", "not valid YAML", "mapping values"),
        ("m.yaml", "a: [1, 2", ": line 1, column 9", "not valid YAML", "expected"),
        ("m.yaml", "a: 1\n\tb: 2", ": line 2, column 1", "not valid YAML", ""),
        ("m.yaml", "a: *nowhere", ": line 1, column 4", "not valid YAML", "undefined alias"),
        (
            "m.yaml",
            "a: !!python/object/apply:os.getcwd []",
            ": line 1, column 4",
            "not valid YAML",
            "constructor",
        ),
        ("m.yaml", "[a]: 1", ": line 1, column 1", "not valid YAML", "unhashable"),
        ("m.yaml", "a: 1\nb: 2\na: 3", ": line 3, column 1", "not valid YAML", '"a" is written twice'),
        ("m.yaml", "x:\n- w: 1\n  w: 1", ": line 3, column 3", "not valid YAML", '"w" is written twice'),
        (
            "m.yaml",
            "x: &x {w: 1, w: 2}\ny: {<<: *x}",
            ": line 1, column 14",
            "not valid YAML",
            '"w" is written twice',
        ),
        ("m.yaml", "a: \x01", "", "cannot be read", ""),
        ("m.yaml", "a: " + "9" * 5000, ": line 1, column 4", "not valid YAML", "more than 400 characters"),
        ("m.yaml", "a: 1" + ":59" * 5000, ": line 1, column 4", "not valid YAML", "more than 400 characters"),
        ("m.yaml", "a: 1" + ":59" * 5000 + ".5", ": line 1, column 4", "not valid YAML", "more than 400"),
        ("m.yaml", "a: !!int ''", "", "cannot be read", ""),
        ("m.yaml", "a: !!float ''", "", "cannot be read", ""),
        ("m.yaml", "a: !!bool maybe", "", "cannot be read", "maybe"),
        ("m.yaml", "a: !!timestamp abc", "", "cannot be read", ""),
        ("m.yaml", "a: !!binary x", ": line 1, column 4", "not valid YAML", "base64"),
        ("m.yaml", "a: !!omap 5", ": line 1, column 4", "not valid YAML", ""),
        ("m.yaml", 'a: [1, "\\ud800"]', ": a[1]", "surrogate", ""),
        ("m.json", '{"a": {"b": "\\ud800"}}', ": a.b", "surrogate", ""),
        ("m.json", '{"\\ud800": 1}', ": ?", "surrogate", ""),
        ("m.yaml", "a: 2024-99-99", "", "cannot be read", "month"),
        ("m.yaml", "[" * 20000, "", "cannot be read", "nesting too deep"),
        ("m.yaml", "a: 1\n---\nb: 2\n", "", "several documents", "2"),
        ("m.json", "{", ": line 1, column 2", "not valid JSON", ""),
        ("m.json", "a: 1", ": line 1, column 1", "not valid JSON", ""),
        ("m.json", '{"a": 1, "a": 2}', "", '"a" is written twice', ""),
        ("m.json", '{"x": {"a": 1, "a": 2}}', "", '"a" is written twice', ""),
        ("m.json", '{"a": ' + "9" * 5000 + "}", "", "cannot be read", "digits"),
        ("m.json", "[" * 200000, "", "cannot be read", "nesting too deep"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, text: str, where: str, what: str, found: str) -> None:
    """Text that is no single value is one ConfigError that names the file and, where known, the line."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, name)
    assert caught.value.where == f"{tmp_path / name}{where}"
    assert what in caught.value.what
    assert found in caught.value.found


def test_merges_of_merges_stay_small(tmp_path: Path) -> None:
    """Merge keys nested thirty deep, ten wide, are read at once and give one value a key."""
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 31)]
    assert read(tmp_path, "\n".join(lines))["a30"] == {"k": 1}


@pytest.mark.parametrize("name", ["m.yaml", "m.json", "m"])
def test_a_config_is_never_waited_for(tmp_path: Path, name: str) -> None:
    """A FIFO without a writer and an endless device in the place of a config are refused at once."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(ConfigError, match="named pipe"):
        read_file(tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="device"):
        read_file(tmp_path / name)


def test_merge_keys_of_bounded_cost(tmp_path: Path) -> None:
    """Two thousand keys merged two thousand times, 48 kB, are refused before they cost a minute."""
    common = ", ".join(f"k{i}: 1" for i in range(2000))
    lines = [f"a: &a {{{common}}}", *(f"b{i}: {{<<: *a}}" for i in range(2000))]
    with pytest.raises(ConfigError, match="not valid YAML") as error:
        read(tmp_path, "\n".join(lines))
    assert "merge keys" in error.value.found


def test_files_that_are_no_config(tmp_path: Path) -> None:
    """A missing file, a directory, a weight file and another encoding are errors that say which it is."""
    with pytest.raises(ConfigError) as missing:
        read_file(tmp_path / "none.yaml")
    assert (missing.value.where, missing.value.found) == (
        str(tmp_path / "none.yaml"),
        "No such file or directory",
    )
    with pytest.raises(ConfigError) as directory:
        read_file(tmp_path)
    assert directory.value.found == "Is a directory" and "YAML or JSON" in directory.value.hint
    with pytest.raises(ConfigError) as long:
        read(tmp_path, b" " * (MAX_SIZE_BYTES + 1), "model.safetensors")
    assert "too long" in long.value.what and "YAML or JSON" in long.value.hint
    with pytest.raises(ConfigError) as encoded:
        read(tmp_path, "a: ü".encode("utf-16"))
    assert encoded.value.found == "bytes that are not UTF-8 text"
    assert read(tmp_path, b"#" * (MAX_SIZE_BYTES - 5) + b"\na: 1") == {"a": 1}
