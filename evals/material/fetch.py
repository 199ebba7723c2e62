"""Fetching a pinned package with pip or npm, checked by sha256. Nothing is installed or imported.

Both clients are asked in their own processes, with the user's own configuration of package indexes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from evals.material.packages import Package
from pipeline.errors import LIST_ITEM, RunError

Report = Callable[[str], None]


def fetch(package: Package, cache: Path, report: Report) -> Path:
    """The package's file under `cache`, downloaded if it is not there. RunError: what pip or npm said."""
    folder = cache / "packages"
    place = folder / package.file
    if place.is_file() and sha256(place) == package.sha256:
        return place
    report(f"fetching {package.name} {package.version}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as aside:
        (_pip if package.kind == "pip" else _npm)(package, Path(aside))
        got = Path(aside) / package.file
        if not got.is_file() or sha256(got) != package.sha256:
            found = ", ".join(sorted(os.listdir(aside))) or "no file"
            raise RunError(
                f"{package.kind} fetched another file than {package.file}",
                where=str(folder),
                expected=f"sha256 {package.sha256}",
                found=found,
            )
        os.replace(got, place)
    return place


def _pip(package: Package, folder: Path) -> None:
    """Let pip fetch the one file into `folder`; it refuses any whose sha256 is not the pinned one."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    kind = ["--no-binary", package.name] if package.is_source else ["--only-binary", package.name]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", *kind]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(folder), "--requirement", str(wanted)]
    _call(package, command, folder)
    wanted.unlink()


def _npm(package: Package, folder: Path) -> None:
    """Let npm fetch the one file into `folder`; its own cache is neither trusted nor filled."""
    npm = shutil.which("npm")
    if npm is None:
        raise RunError(
            f"npm is not installed; {package.name} {package.version} comes from its index",
            hint="install Node.js with npm (for example: apt-get install npm)",
        )
    with tempfile.TemporaryDirectory(dir=folder, prefix="npm-") as own:
        command = [npm, "pack", f"{package.name}@{package.version}", "--ignore-scripts", "--loglevel=error"]
        _call(package, [*command, f"--cache={own}", "--update-notifier=false"], folder)


def _call(package: Package, command: list[str], folder: Path) -> None:
    """Run one client inside `folder`. RunError with the end of what it said when it fails."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode != 0:
        raise RunError(
            f"{package.kind} could not fetch {package.name} {package.version}",
            where=" ".join(command),
            found=LIST_ITEM.join(done.stderr.strip().splitlines()[-6:]),
            hint=f"check that {package.kind} reaches its package index; the same command goes on from here",
        )


def sha256(path: Path) -> str:
    """sha256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
