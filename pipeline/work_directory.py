"""Whose a work directory is: its marker, the names that may lie in it, how it is looked at and removed.

A work directory is ours when its marker says so, and then only the names that a merge makes are: those of its
own records, and those that the marker lists of the model under construction. Whatever else lies there belongs
to somebody else: it is named, and neither opened, followed nor removed.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cluster.contract import ClusterError
from cluster.ledger import Ledger, read_contents
from pipeline.checkpoint.commit import listed_names
from pipeline.checkpoint.files import atomic_write
from pipeline.checkpoint.layout import INDEX_NAME
from pipeline.checkpoint.unfinished import stem_of_unfinished, unfinished_stem
from pipeline.errors import LIST_ITEM, CheckpointError, OutputError, shown
from pipeline.plan_record import PLAN_NAME, read_plan_record
from pipeline.untrusted import is_relative_name, parse_json, read_small

MARKER_NAME = "owner.json"
LEDGER_NAME = "receipts.jsonl"
PARTIALS_NAME = "partials"
#: Where an earlier model at OUT lies between the two renames that replace it.
REPLACED_NAME = "replaced"
_FORMAT = 1
_SUFFIX = ".mergescale"
_MOST_SHOWN = 5
_HEX = re.compile(r"[0-9a-f]{32,}")
_PARTIAL = re.compile(r"unit-[0-9a-f]{16}-\w[\w.-]*-[0-9a-f]{12}\.json")
#: What NFS keeps of an open file that was removed.
_REMOVED_WHILE_OPEN = re.compile(r"\.nfs[0-9a-f]+")


@dataclass(frozen=True)
class Marker:
    """What makes a work directory ours: `id` is drawn when it is made, `fingerprint` that of its plan,
    `files` the names in the model under construction. A directory of an older version has no `id`.
    """

    id: str
    fingerprint: str
    files: tuple[str, ...]

    @property
    def model(self) -> str:
        """Name of the directory of the model under construction."""
        return model_name(self.fingerprint)


@dataclass
class Contents:
    """What lies in a work directory: our files and directories, the deepest first, and what is not ours."""

    marker: Marker | None = None
    files: list[Path] = field(default_factory=list)
    directories: list[Path] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


def work_directory(out: Path) -> Path:
    """Where a merge into `out` keeps its unfinished work."""
    return out.with_name(out.name + _SUFFIX)


def model_of(root: Path) -> Path | None:
    """The output whose work directory has this name."""
    return root.with_name(root.name.removesuffix(_SUFFIX)) if root.name.endswith(_SUFFIX) else None


def model_name(fingerprint: str) -> str:
    """Name of the directory of the model under construction; it carries the plan, so that no worker of
    another plan can write into it.
    """
    return f"model-{fingerprint[:12]}"


def new_marker(fingerprint: str, files: Sequence[str]) -> Marker:
    """A marker for a work directory that is made now."""
    return Marker(secrets.token_hex(16), fingerprint, tuple(sorted(files)))


def write_marker(root: Path, marker: Marker) -> None:
    """Put the marker into its work directory, durably and whole."""
    content = {"format": _FORMAT, "product": "mergescale", **asdict(marker)}
    atomic_write(root / MARKER_NAME, json.dumps(content, indent=1).encode())


def read_marker(root: Path) -> Marker | None:
    """The marker of a work directory; None where there is none that can be read."""
    try:
        content = parse_json(read_small(root / MARKER_NAME, error=OutputError, follow_links=False))
    except (FileNotFoundError, NotADirectoryError, OutputError, ValueError):
        return None
    if not isinstance(content, dict) or (content.get("format"), content.get("product")) != (
        _FORMAT,
        "mergescale",
    ):
        return None
    name, fingerprint, files = content.get("id"), content.get("fingerprint"), content.get("files")
    if not all(isinstance(text, str) and _HEX.fullmatch(text) for text in (name, fingerprint)):
        return None
    if not isinstance(files, list) or not all(is_relative_name(file) for file in files):
        return None
    return Marker(str(name), str(fingerprint), tuple(files))


def survey(root: Path) -> Contents:
    """Tell what in a work directory is ours from what is not. Follows no link and reads our records alone."""
    found = Contents()
    try:
        status = os.lstat(root)
    except FileNotFoundError:
        return found
    if not stat.S_ISDIR(status.st_mode):
        found.foreign.append("no directory")
        return found
    uid = _our_uid(root, status.st_uid)
    if status.st_uid != uid:
        found.foreign.append(f"a directory of another user (uid {status.st_uid})")
        return found
    found.marker = read_marker(root) or _older(root)
    allowed = _Allowed.of(root, found.marker)
    for path, name in _walk(root, "", allowed):
        own = name.startswith(REPLACED_NAME + "/") or _is_plain(path.lstat(), uid)
        kind = found.directories if path.is_dir() and not path.is_symlink() else found.files
        if allowed.has(name, is_directory=kind is found.directories) and own:
            kind.append(path)
        elif not _REMOVED_WHILE_OPEN.fullmatch(path.name):
            found.foreign.append(name if own else f"{name} (a link, or a file of another user or name)")
    found.directories.reverse()
    return found


def is_unfinished(path: Path) -> bool:
    """Whether a file is what a write or a copy that was killed left of one of ours."""
    return stem_of_unfinished(path.name) is not None


def check_ours(root: Path) -> Contents:
    """What lies in a work directory, all of which is ours. Raises OutputError that names anything else."""
    found = survey(root)
    if found.foreign:
        more = len(found.foreign) - _MOST_SHOWN
        names = [shown(name) for name in found.foreign[:_MOST_SHOWN]] + ([f"and {more} more"] * (more > 0))
        raise OutputError(
            "the merge would keep its unfinished work in something that mergescale did not make",
            where=str(root),
            expected="nothing, or the work directory of an interrupted merge and nothing else in it",
            found=LIST_ITEM.join(names),
            hint="move that elsewhere, or give another output directory",
        )
    return found


def remove(contents: Contents, ledger: Ledger) -> None:
    """Remove what is ours of a work directory, held through its `ledger`, and itself when it is empty then.

    Killed at any point, what is left is ours still: the marker goes when nothing is left that needs it.
    """
    root = ledger.path.parent
    last = {root / MARKER_NAME, ledger.path}
    for path in contents.files:
        if path not in last and path.parent.name != REPLACED_NAME:
            path.unlink(missing_ok=True)
    # The record of an earlier model says which files are ours: it goes after them.
    of_replaced = [path for path in contents.files if path.parent.name == REPLACED_NAME]
    for path in sorted(of_replaced, key=lambda path: path.name.startswith("mergescale_")):
        path.unlink(missing_ok=True)
    for directory in contents.directories:
        with suppress(OSError):  # somebody put something there meanwhile: it stays
            directory.rmdir()
    ledger.clear()
    (root / MARKER_NAME).unlink(missing_ok=True)
    ledger.remove()
    with suppress(OSError):
        root.rmdir()


@dataclass(frozen=True)
class _Allowed:
    """The names, relative to the work directory, that a merge makes."""

    files: frozenset[str]
    directories: frozenset[str]
    #: Of files whose unfinished ones do not bear their name: what stands for it there.
    long_names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, root: Path, marker: Marker | None) -> _Allowed:
        """The names of a work directory with this marker."""
        if marker is None:
            # A merge that was killed as it began left a ledger without a receipt, and half a marker.
            return cls(frozenset({LEDGER_NAME} if _is_begun(root) else ()), frozenset())
        files = {MARKER_NAME, PLAN_NAME, LEDGER_NAME}
        files |= {f"{marker.model}/{name}" for name in marker.files}
        files |= {f"{REPLACED_NAME}/{name}" for name in _listed(root / REPLACED_NAME)}
        directories = {PARTIALS_NAME, marker.model, REPLACED_NAME}
        directories |= {above.as_posix() for file in files for above in Path(file).parents if above != Path()}
        stems = {file: Path(file).with_name(unfinished_stem(Path(file).name)).as_posix() for file in files}
        long_names = {stem for file, stem in stems.items() if stem != file}
        return cls(frozenset(files), frozenset(directories), frozenset(long_names))

    def has(self, name: str, *, is_directory: bool) -> bool:
        """Whether a merge makes a file, or a directory, of this name."""
        if is_directory:
            return name in self.directories
        above, _, last = name.rpartition("/")
        stem = stem_of_unfinished(last)
        if stem is not None:
            last = stem
            if name.startswith(f".{MARKER_NAME}.") or (f"{above}/{last}" in self.long_names):
                return True
        if above == PARTIALS_NAME:
            return PARTIALS_NAME in self.directories and _PARTIAL.fullmatch(last) is not None
        return (f"{above}/{last}" if above else last) in self.files


def _walk(directory: Path, above: str, allowed: _Allowed) -> Iterator[tuple[Path, str]]:
    """(path, name in the work directory) of all that lies there; only our directories are entered."""
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        name = f"{above}{entry.name}"
        yield Path(entry.path), name
        if entry.is_dir(follow_symlinks=False) and allowed.has(name, is_directory=True):
            yield from _walk(Path(entry.path), f"{name}/", allowed)


def _is_plain(status: os.stat_result, uid: int) -> bool:
    """A directory of ours, or a regular file of ours that has this one name."""
    plain = stat.S_ISREG(status.st_mode) and status.st_nlink <= 1
    return status.st_uid == uid and (plain or stat.S_ISDIR(status.st_mode))


def _our_uid(root: Path, found: int) -> int:
    """The owner that files of ours have there: a mount (NFS with root squash, FUSE) may give all of them one
    of its own, which a file made beside the work directory then tells.
    """
    if found != os.geteuid():
        with suppress(OSError), tempfile.TemporaryFile(dir=root.parent) as probe:
            return os.fstat(probe.fileno()).st_uid
    return os.geteuid()


def _older(root: Path) -> Marker | None:
    """A marker for a work directory of a version that wrote none: its plan and its ledger name one plan."""
    try:
        plan, ledger = read_plan_record(root), read_contents(root / LEDGER_NAME)
    except (OutputError, ClusterError, OSError):
        return None
    if plan is None or plan.fingerprint != ledger.fingerprint:
        return None
    return Marker("", plan.fingerprint, (*plan.files, INDEX_NAME))


def holds_receipts(root: Path) -> bool:
    """Whether the ledger of a work directory holds receipts, or is no ledger at all."""
    try:
        return bool(read_contents(root / LEDGER_NAME).done)
    except (ClusterError, OSError):
        return True


def _is_begun(root: Path) -> bool:
    """Whether there is a ledger that says nothing yet but, perhaps, whose it is."""
    try:
        path = root / LEDGER_NAME
        found = read_contents(path)
        return not found.done and (bool(found.fingerprint) or path.lstat().st_size == 0)
    except (ClusterError, OSError):
        return False


def _listed(model: Path) -> list[str]:
    """The files that an earlier merge of ours lists of itself; none where there is no such record."""
    try:
        return listed_names(model)
    except (CheckpointError, OSError):
        return []
