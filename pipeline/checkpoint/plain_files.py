"""Check that a model directory holds files that libraries may open. Reads names and modes, never a byte."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pipeline.checkpoint.beside import is_loaded
from pipeline.errors import CheckpointError
from pipeline.untrusted import kind_of


def check_plain_files(directory: Path) -> None:
    """Check that everything in a model directory is a file, a directory, or a link to one.

    For models that a library reads by itself: it would wait for a named pipe for ever, and take a link to
    nowhere for a file that the model does not have.

    Raises:
        CheckpointError: naming the entry and what it is.
    """
    for name in sorted(os.listdir(directory)):
        path = directory / name
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            if is_loaded(name):  # a loss that loaders would not tell of
                raise _refused(path, error.strerror or str(error)) from error
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise _refused(path, kind_of(mode))


def _refused(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        "a file of this model cannot be read",
        where=str(path),
        expected="a file, or a link to one",
        found=found,
        hint="put the file in its place, or remove the entry",
    )
