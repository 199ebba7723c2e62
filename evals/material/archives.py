"""Reading files out of package archives into memory, so that no archive can write anywhere."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

from pipeline.errors import RunError


def read_member(archive: Path, member: str) -> bytes:
    """The bytes of one file inside a wheel or tar archive; `member` is its exact name there.

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


def members_ending(archive: Path, ending: str) -> dict[str, bytes]:
    """Name -> bytes of the files inside a wheel or tar archive whose names end so, sorted by name."""
    if archive.name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(archive) as zipped:
            return {name: zipped.read(name) for name in sorted(zipped.namelist()) if name.endswith(ending)}
    found: dict[str, bytes] = {}
    with tarfile.open(archive) as tarred:
        for member in tarred:  # in the archive's order: seeking back in a compressed file is slow
            file = tarred.extractfile(member) if member.name.endswith(ending) else None
            if file is not None:
                found[member.name] = file.read()
    return dict(sorted(found.items()))
