"""Find the model that a reference means, here, on the Hub or in a bucket, and read its headers.

The room's front door: it decides where to look; what is found is read by `index.py`, `hub.py` or `s3.py`.
Weights are fetched only when asked for.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path

from pipeline.checkpoint.index import CheckpointIndex, list_names, read_directory
from pipeline.checkpoint.remote import Ranged
from pipeline.checkpoint.synthetic import is_synthetic, read_synthetic
from pipeline.errors import CheckpointError
from pipeline.values import ModelRef

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def read_index(ref: ModelRef, *, beside: Path | None = None) -> CheckpointIndex:
    """Find a model and read its headers. Raises CheckpointError for whatever keeps it from being merged.

    A path is a local directory where one exists: as written, or relative to `beside` (the directory of
    the config). Otherwise a path of the form `name` or `org/name` is a Hub repository, whose headers are read
    remotely. `s3://bucket/folder` is a model in a bucket; `synthetic:` names are models made when they are
    read.
    """
    if is_synthetic(ref.path):
        return read_synthetic(ref)
    if ref.is_in_bucket:
        from pipeline.checkpoint import s3  # slow to import, as the Hub's below, and few merges need it

        return s3.read_s3_index(ref)
    directory = find_directory(ref, beside)
    if directory is not None:
        return read_directory(ref, directory)
    path = Path(os.path.abspath((beside or Path()) / os.path.expanduser(ref.path)))
    if not _HUB_NAME.fullmatch(ref.path):
        raise CheckpointError(
            f'model "{ref}" is not there',
            where=str(path),
            expected="a directory with config.json and weights, or a Hub repository org/name",
            found="nothing",
            hint=near_directory(path),
        )
    from pipeline.checkpoint import hub

    return hub.read_hub_index(ref, local_hint=near_directory(path))


def fetch_weights(index: CheckpointIndex) -> CheckpointIndex:
    """The index of the same model with all of its weights on this machine; see `hub.py` and `s3.py`."""
    if index.commit is None:
        return index
    if index.ref.is_in_bucket:
        from pipeline.checkpoint import s3

        return s3.fetch_s3_weights(index)
    from pipeline.checkpoint import hub

    return hub.fetch_weights(index)


def open_ranged(index: CheckpointIndex) -> Ranged:
    """Open the weights of a model that is not on this machine for reads of parts of them.

    Raises CheckpointError, as each read does, where they cannot be reached.
    """
    if index.ref.is_in_bucket:
        from pipeline.checkpoint import s3

        return s3.open_ranged(index)
    from pipeline.checkpoint import hub

    return hub.open_ranged(index)


def find_model(ref: ModelRef) -> Path:
    """The directory of a model's files; one that is on the Hub or in a bucket is fetched first.

    Raises CheckpointError as `read_index` and `fetch_weights` do.
    """
    found = find_directory(ref)
    return found if found is not None else Path(fetch_weights(read_index(ref)).directory)


def find_directory(ref: ModelRef, beside: Path | None = None) -> Path | None:
    """The local directory a reference means, absolute; None if there is none.

    Raises CheckpointError for a file, for a revision of a directory, and if the path means two directories.
    """
    if not ref.path:
        return None
    written = os.path.expanduser(ref.path)
    candidates = [Path(os.path.abspath(written))]
    if beside is not None:
        candidates.append(Path(os.path.abspath(beside / written)))
    found = list(dict.fromkeys(path for path in candidates if os.path.lexists(path)))
    if not found:
        return None
    if len(found) == 2 and not os.path.samefile(*found):
        raise CheckpointError(
            f'"{ref.path}" means two places: one from where you are, one beside the config',
            where=str(found[0]),
            found=str(found[1]),
            hint="write an absolute path",
        )
    if not found[0].is_dir():
        raise CheckpointError(
            f'model "{ref}" is a file or a broken link, not a directory',
            where=str(found[0]),
            expected="a directory with config.json and weights",
            hint="give the directory that holds the file",
        )
    if ref.revision is not None:
        raise CheckpointError(
            f'model "{ref}" is a local directory, which has no revisions',
            where=str(found[0]),
            found=f"revision {ref.revision}",
            hint="leave the revision out, or check that revision out into a directory",
        )
    return found[0]


def near_directory(path: Path) -> str:
    """A hint naming the directory that was probably meant, or the part of the path that is not there."""
    parent = path.parent
    if not os.path.isdir(parent):
        return f"check the path: {parent} is not there either"
    known = [name for name in list_names(parent) if os.path.isdir(parent / name)]
    close = get_close_matches(path.name, known, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(str(parent / name) for name in close)}?"
    return f"check the path: {parent} holds no directory of that name"
