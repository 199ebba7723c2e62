"""Models on a Hugging Face Hub: config and tokenizer are fetched, weights described by their headers alone.

Planning costs a few small files and one ranged read per weight file; `fetch_weights` brings the weights when
the plan stands. Files lie in the usual local cache, whose environment variables (HF_HOME, HF_HUB_OFFLINE,
HF_TOKEN, HF_ENDPOINT) hold. Paths in the index are those the files will have there, so a plan made before the
download stays true. Never uploads anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import HfApi, constants, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

from pipeline.checkpoint.index import (
    CheckpointIndex,
    FileEntry,
    list_names,
    read_directory,
    read_weight_map,
)
from pipeline.checkpoint.layout import INDEX_NAME, SINGLE_NAME
from pipeline.checkpoint.remote import (
    BESIDE_WEIGHTS,
    Ranged,
    describe_remote,
    fetch_missing,
    read_promised,
    small_files,
)
from pipeline.errors import CheckpointError
from pipeline.untrusted import parse_json
from pipeline.values import ModelRef

#: The root error of the HTTP library. huggingface_hub changed that library twice; its error derives from it.
_HTTP_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REVISION_PATH = re.compile(r"/api/models/.+/revision/[^/]+")


def read_hub_index(ref: ModelRef, *, local_hint: str = "") -> CheckpointIndex:
    """Index of a Hub repository at the commit its revision (default: main) points to now.

    `local_hint` is added where the name may have been meant for a local directory. Raises CheckpointError: no
    such repository or revision, no access, offline and not in the cache, no network.
    """
    with _explained(ref, local_hint):
        wanted = _small(ref)
        snapshot = Path(snapshot_download(ref.path, revision=ref.revision, allow_patterns=wanted))
    commit = snapshot.name
    cached = _cached_weights(snapshot)
    if cached == "all" or (cached == "some file" and constants.HF_HUB_OFFLINE):
        return read_directory(ref, snapshot, commit=commit)
    if constants.HF_HUB_OFFLINE:
        raise _offline(ref, "config and tokenizer only" if cached == "none" else "a part of the weights")
    with _explained(ref, local_hint):
        names = HfApi().list_repo_files(ref.path, revision=commit)
        ranged = partial(_ranged, ref.path, commit)
        return describe_remote(ref, snapshot, names, f"{ref.path}@{commit}", ranged)


def _small(ref: ModelRef) -> list[str]:
    """Patterns of the files that are fetched for planning.

    Where the repository cannot be listed (no network: the cache may hold it), those known beforehand.
    """
    if constants.HF_HUB_OFFLINE:
        return list(BESIDE_WEIGHTS)
    try:
        listed = HfApi().list_repo_tree(ref.path, recursive=True, revision=ref.revision)
        sizes = {entry.path: entry.size for entry in listed if isinstance(entry, RepoFile)}
    except (OSError, _HTTP_ERROR):
        return list(BESIDE_WEIGHTS)
    return [_literal(name) for name in small_files(sizes)]


def fetch_weights(index: CheckpointIndex) -> CheckpointIndex:
    """Bring the weights an index describes into the local cache and return the index of the files there.

    A model that is in the cache already is returned as it is. Raises CheckpointError as `fetch_missing` does.
    """

    def bring(missing: Sequence[FileEntry]) -> None:
        names = [_literal(os.path.basename(file.path)) for file in missing]
        with _explained(index.ref):
            snapshot_download(index.ref.path, revision=index.commit, allow_patterns=names)

    return fetch_missing(index, "HF_HOME", bring)


def open_ranged(index: CheckpointIndex) -> Ranged:
    """Open the weights an index describes for reads of parts of them, at the index's commit."""
    assert index.commit is not None, "a local model is read from its files"
    commit = index.commit

    def ranged(file: str, start: int, stop: int) -> tuple[bytes | bytearray, int]:
        with _explained(index.ref):
            return _ranged(index.ref.path, commit, file, start, stop)

    return ranged


def _cached_weights(snapshot: Path) -> Literal["all", "some file", "part", "none"]:
    """How much of a model's weights the cache holds.

    "some file": one of another name than the usual, the model or a variant that somebody fetched; only the
    repository's listing can tell.
    """
    names = {name for name in list_names(snapshot) if os.path.exists(snapshot / name)}
    held = {name for name in names if name.endswith(".safetensors")}
    if INDEX_NAME in names:
        wanted = set(read_weight_map(snapshot / INDEX_NAME).values())
        return "all" if wanted <= held else "part" if wanted & held else "none"
    if SINGLE_NAME in held:
        return "all"
    return "some file" if held else "none"


def _ranged(repository: str, commit: str, file: str, start: int, stop: int) -> tuple[bytes | bytearray, int]:
    """Bytes [start, stop) of a remote file, fewer at its end, and the size of the whole file."""
    url, where = hf_hub_url(repository, file, revision=commit), f"{repository}@{commit}: {file}"
    headers = {**build_hf_headers(), "Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
    total_bytes = 0

    def ask(start: int, size_bytes: int) -> bytes:
        nonlocal total_bytes
        response = get_session().get(url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
        hf_raise_for_status(response)
        answered = re.fullmatch(
            r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})", response.headers.get("Content-Range", "")
        )
        if response.status_code != 206 or answered is None or int(answered[1]) != start:
            raise CheckpointError(
                "the server does not answer ranged reads, so headers cannot be read without the weights",
                where=where,
                expected="status 206",
                found=f"status {response.status_code}",
                hint="download the repository and give its directory",
            )
        total_bytes = int(answered[2])
        return bytes(response.content)

    first = ask(start, stop - start)
    wanted = max(0, min(stop, total_bytes) - start)
    content = first if len(first) == wanted else read_promised(ask, start, wanted, where)
    return content, total_bytes


def _literal(name: str) -> str:
    """The shell pattern that means this file name alone."""
    return re.sub(r"([\[*?])", r"[\1]", name)


def _guard_session() -> None:
    """Bound how long huggingface_hub waits for an answer, and what it takes for a commit.

    It calls the API without a time limit, and joins the commit that the server names to its cache directory.
    Versions before 1.0, whose sessions have no such hooks, do not keep a file named after the commit.
    """
    hooks: dict[str, list[Any]] | None = getattr(get_session(), "event_hooks", None)
    if hooks is not None and _bound_wait not in hooks["request"]:
        hooks["request"].append(_bound_wait)
        hooks["response"].append(_check_commit)


def _bound_wait(request: Any) -> None:
    """Give a request without time limits those of a download."""
    limits = request.extensions.get("timeout", {})
    bounded = {name: value or constants.HF_HUB_DOWNLOAD_TIMEOUT for name, value in limits.items()}
    request.extensions = {**request.extensions, "timeout": bounded}


def _check_commit(response: Any) -> None:
    """Raise ValueError unless the commit in an answer is one."""
    # The path as it was sent: a revision like refs/pr/1 has its slashes escaped there, and so is one part.
    path = response.request.url.raw_path.partition(b"?")[0].decode("ascii")
    if response.status_code == 200 and _REVISION_PATH.fullmatch(path):
        answer = parse_json(response.read())
        commit = answer.get("sha") if isinstance(answer, dict) else None
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise ValueError(f"the commit of the repository is {ascii(commit)[:80]}")


@contextmanager
def _explained(ref: ModelRef, local_hint: str = "") -> Iterator[None]:
    """Turn what huggingface_hub and the network raise, also about answers that make no sense, into one
    CheckpointError.
    """
    _guard_session()
    try:
        yield
    except HFValidationError as error:
        raise CheckpointError(
            f'"{ref.path}" is neither a directory nor a repository name', found=str(error), hint=local_hint
        ) from error
    except (OSError, _HTTP_ERROR) as error:
        raise _explain(ref, error, local_hint) from error
    except (ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
        raise CheckpointError(
            f'what the Hub answers about "{ref.path}" makes no sense',
            where=f"{constants.ENDPOINT}/{ref.path}",
            expected="the API of a model Hub",
            found=_first_line(error),
            hint="; ".join(
                part
                for part in (local_hint, "check the network (a login page in between?) and HF_ENDPOINT")
                if part
            ),
        ) from error


def _explain(ref: ModelRef, error: BaseException, local_hint: str) -> CheckpointError:
    where = f"{constants.ENDPOINT}/{ref.path}"
    login = "log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, GatedRepoError):
        return CheckpointError(
            f'repository "{ref.path}" is gated and this account has no access',
            where=where,
            hint=f"ask for access on its page, then {login}",
        )
    if isinstance(error, RepositoryNotFoundError):
        return CheckpointError(
            f'"{ref.path}" is neither a local directory nor a Hub repository that this account can see',
            where=where,
            hint="; ".join(part for part in (local_hint, f"for a private repository {login}") if part),
        )
    if isinstance(error, RevisionNotFoundError):
        return CheckpointError(
            f'repository "{ref.path}" has no revision "{ref.revision}"',
            where=where,
            hint="give a branch, a tag or a commit of that repository",
        )
    if constants.HF_HUB_OFFLINE:
        return _offline(ref, "nothing", local_hint)
    if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
        return CheckpointError(
            f'the Hub refuses access to "{ref.path}"', where=where, found=str(error), hint=login
        )
    return CheckpointError(
        f'"{ref.path}" is no local directory, and the Hub cannot be reached',
        where=where,
        found=_first_line(error),
        hint="; ".join(part for part in (local_hint, "check the network and HF_ENDPOINT") if part),
    )


def _offline(ref: ModelRef, found: str, local_hint: str = "") -> CheckpointError:
    return CheckpointError(
        f'"{ref}" is no local directory, and offline mode is on while its weights are not in the local cache',
        where=str(constants.HF_HUB_CACHE),
        expected="config, tokenizer and weights",
        found=found,
        hint="; ".join(
            part for part in (local_hint, "unset HF_HUB_OFFLINE, or fill the cache first") if part
        ),
    )


def _first_line(error: BaseException) -> str:
    """The error that began it all, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".splitlines()[0][:400]
