"""The front door of a merged model: publish it whole or not at all, and verify it later.

`publish` is the only place where a model appears under its final name. Never changes a file's content.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.checkpoint.files import digest_file, sync_directory, sync_file
from pipeline.checkpoint.index import read_directory
from pipeline.checkpoint.manifest import (
    MANIFEST_NAME,
    Manifest,
    OutputFile,
    model_files,
    read_manifest,
    record_name,
)
from pipeline.errors import LIST_ITEM, CheckpointError, OutputError, VerifyError
from pipeline.values import ModelRef

_MOST_LISTED = 20
_FOR_PEOPLE = ("README.md", "LICENSE")


def publish(staging: Path, final: Path, aside: Path, *, replace: bool = False) -> None:
    """Make the complete model in `staging` appear as `final`, durably, in one rename; `staging` is gone then.

    All are on one file system. `final` may be absent or an empty directory; with `replace` it may be an
    earlier model of ours, which lies at `aside` until the new one is in place and is removed then. A crash in
    between leaves both whole; the same call finishes. Raises OutputError for anything else there.
    """
    staging, final = Path(os.path.abspath(staging)), Path(os.path.abspath(final))
    if record_name(staging) is None:
        raise ValueError(f"{staging} has no manifest: it is not complete")
    check_replaceable(final, replace=replace)
    _sync_tree(staging)
    moved = final.exists() and any(final.iterdir())
    if moved:
        os.rename(final, aside)
    try:
        os.rename(staging, final)
    except OSError:
        if moved and not final.exists():
            os.rename(aside, final)
        raise
    sync_directory(staging.parent)
    sync_directory(final.parent)
    if os.path.lexists(aside):
        remove_model(aside)


def check_replaceable(final: Path, *, replace: bool) -> None:
    """Raise OutputError unless `publish` may put a model at `final`.

    With `replace` an earlier model of ours may lie there, and nothing but what its manifest lists: what
    somebody put beside it, or changed, would be lost.
    """
    if not os.path.lexists(final):
        return
    hint = "give another output directory"
    if final.is_symlink() or not final.is_dir():
        found = "a link" if final.is_symlink() else "a file"
        raise OutputError("the output is not a directory", where=str(final), found=found, hint=hint)
    names = sorted(os.listdir(final))
    if not names:
        return
    if not replace:
        ours = record_name(final) is not None
        raise OutputError(
            "the output directory holds a model already" if ours else "the output directory is not empty",
            where=str(final),
            expected="no directory or an empty one",
            found=_some(names),
            hint="give another output directory" + (", or --fresh to replace the model" if ours else ""),
        )
    try:
        others = not_ours(final)
    except CheckpointError as error:
        what = "the output directory holds something that mergescale did not make, so it is not replaced"
        raise OutputError(
            what, where=str(final), expected=MANIFEST_NAME, found=_some(names), hint=hint
        ) from error
    if others:
        raise OutputError(
            "the output directory holds files that the merge there did not make, so it is not replaced",
            where=str(final),
            expected="what its manifest lists and nothing else",
            found=_some(others),
            hint="move them elsewhere and run the same command again, or give another output directory",
        )


def listed_names(directory: Path) -> list[str]:
    """The record of the merge in a directory, last, and every file that it lists, as relative names.

    Raises CheckpointError if there is no readable record.
    """
    record = record_name(directory) or MANIFEST_NAME
    return [*(file.name for file in read_manifest(directory, record).outputs), record]


def missing_files(directory: Path, manifest: Manifest) -> list[str]:
    """What is wrong with the files of a published model, by name and size alone: missing or cut ones.

    A model card may be edited, as people do before they upload a model: it is looked for, not measured.
    """
    found = []
    for file in manifest.outputs:
        try:
            size_bytes = (directory / file.name).stat().st_size
        except OSError as error:
            found.append(f"{file.name}: {error.strerror or error}")
            continue
        if size_bytes != file.size_bytes and file.name not in _FOR_PEOPLE:
            found.append(f"{file.name}: {size_bytes:,} bytes instead of {file.size_bytes:,}")
    return found


def not_ours(directory: Path) -> list[str]:
    """Everything in the directory of a merge that its record does not list, and files beside the weights that
    were changed since. Weights that differ are damaged: whoever writes weights of his own writes more.
    """
    record = record_name(directory) or MANIFEST_NAME
    outputs = {file.name: file for file in read_manifest(directory, record).outputs}
    listed = {*outputs, record}
    within = {above.as_posix() for name in outputs for above in Path(name).parents}
    found = []
    for root, directories, names in os.walk(directory):
        for name in (*directories, *names):
            path = Path(root, name)
            relative = path.relative_to(directory).as_posix()
            if name in directories and not path.is_symlink():
                found += [] if relative in within else [f"{relative}/"]
            elif relative not in listed:
                found.append(relative)
            elif relative != record and _is_changed(path, outputs[relative]):
                found.append(f"{relative} (changed since)")
        directories[:] = [
            name for name in directories if Path(root, name).relative_to(directory).as_posix() in within
        ]
    return sorted(found)


def _is_changed(path: Path, file: OutputFile) -> bool:
    """Whether a file beside the weights is no more the one that was published."""
    if file.name.endswith(".safetensors"):
        return False
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size != file.size_bytes:
        return True
    try:
        return digest_file(path) != file.digest
    except OSError:
        return True


def remove_model(directory: Path) -> None:
    """Remove what the record of a merge lists, the record last, and the directories that are empty then."""
    names = listed_names(directory)
    for name in names:
        (directory / name).unlink(missing_ok=True)
    above = {parent for name in names for parent in (directory / name).relative_to(directory).parents}
    for parent in sorted(above, key=lambda path: -len(path.parts)):
        with suppress(OSError):  # it holds something that is not ours: it stays
            (directory / parent).rmdir()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


@dataclass(frozen=True)
class Problem:
    """One difference between a model and its manifest."""

    file: str
    what: str
    expected: str = ""
    found: str = ""

    def __str__(self) -> str:
        differs = f" (expected {self.expected}, found {self.found})" if self.expected else ""
        return f"{self.file}: {self.what}{differs}"


def find_problems(directory: Path, progress: Callable[[int], None] | None = None) -> list[Problem]:
    """Every difference between the files of a merged model and its manifest, by file; all files are read.

    `progress` is called with the bytes of each step. Raises CheckpointError if there is no readable manifest.
    """
    manifest = read_manifest(directory)
    listed = {file.name for file in manifest.outputs}
    problems = [
        Problem(name, "is not in the manifest") for name in model_files(directory) if name not in listed
    ]
    for file in manifest.outputs:
        problem = _check_file(directory, file, progress)
        if problem is not None:
            problems.append(problem)
    if not problems:
        try:
            read_directory(ModelRef(str(directory)), directory)
        except CheckpointError as error:
            problems.append(Problem(error.where, error.what, error.expected, error.found))
    return sorted(problems, key=lambda problem: problem.file)


def verify(directory: Path, progress: Callable[[int], None] | None = None) -> Manifest:
    """Recompute sizes, digests and headers of a merged model; the manifest if all agree.

    Raises VerifyError that lists what does not, CheckpointError if there is no readable manifest.
    """
    problems = find_problems(directory, progress)
    if not problems:
        return read_manifest(directory)
    lines = [str(problem) for problem in problems[:_MOST_LISTED]]
    if len(problems) > _MOST_LISTED:
        lines.append(f"and {len(problems) - _MOST_LISTED} more")
    raise VerifyError(
        "the model is not what its manifest says",
        where=str(directory),
        expected=f"{MANIFEST_NAME} and the files it lists",
        found=LIST_ITEM.join(lines),
        hint="copy the model again from its source, or merge again",
    )


def _check_file(directory: Path, file: OutputFile, progress: Callable[[int], None] | None) -> Problem | None:
    path = directory / file.name
    try:
        size_bytes = path.stat().st_size
        if size_bytes != file.size_bytes:
            return Problem(file.name, "has another size", f"{file.size_bytes} bytes", f"{size_bytes} bytes")
        digest = digest_file(path, progress=progress)
    except FileNotFoundError:
        return Problem(file.name, "is missing")
    except OSError as error:
        return Problem(file.name, f"cannot be read: {error.strerror or error}")
    return None if digest == file.digest else Problem(file.name, "has other bytes", file.digest, digest)


def _sync_tree(directory: Path) -> None:
    """Flush every file and directory below, the deepest first."""
    for root, _, names in os.walk(directory, topdown=False):
        for name in names:
            sync_file(Path(root, name))
        sync_directory(Path(root))
