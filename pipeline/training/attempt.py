"""Where an expert is trained until it is whole, and what a later attempt needs to go on. Knows no model.

Beside the expert's place lies a hidden folder, named after what decides its weights, so that an attempt with
another base, data or settings never finds it:

    .NAME.KEY.training/
        lock             held by the attempt that works here; the system lets go of it when that dies
        checkpoint-N/    the Trainer's; whole when it has its mark, which also holds what was measured so far
        best-N/          weights after N steps, the best on the validation data so far

A crash while a checkpoint is written leaves the one before it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.checkpoint.files import atomic_write, digest_bytes, sync_directory, sync_file
from pipeline.errors import CheckpointError
from pipeline.training.scoring import Score
from pipeline.training.steplog import Step
from pipeline.untrusted import read_json

_log = logging.getLogger("mergescale.training")

_MARK = "mark.json"
_CHECKPOINT = "checkpoint-"
_BEST = "best-"
_KEY_LENGTH = 12


@dataclass
class Memory:
    """What was measured up to a checkpoint."""

    steps: list[Step] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)

    @property
    def chosen(self) -> Score | None:
        """The best score; of equal ones the first."""
        return max(self.scores, key=lambda score: score.score, default=None)


def key_of(deciding: Mapping[str, Any]) -> str:
    """A short name for everything that decides an expert's weights."""
    return digest_bytes(json.dumps(deciding, sort_keys=True).encode())[:_KEY_LENGTH]


@contextmanager
def workspace(out: Path, key: str) -> Iterator[Path]:
    """The folder to train the expert at `out` in: the one an earlier attempt left, or a new one.

    While another attempt works there (a worker that was thought lost), one of its own. When the work is done
    the folder is removed, with those of other settings where nobody works; when it failed it stays if there
    is a checkpoint.
    """
    shared = out.with_name(f".{out.name}.{key}.training")
    lock = _lock(shared)
    if lock is None:
        work = out.with_name(f".{out.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
        work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return
    try:
        yield shared
        _remove_left(out, shared)
    finally:
        if newest(shared) is None:
            shutil.rmtree(shared, ignore_errors=True)
        os.close(lock)


def _remove_left(out: Path, shared: Path) -> None:
    """Remove the folder of the work that is done, and those that attempts with other settings left.

    Names of experts may hold dots: only what a key follows is this one's.
    """
    own = re.compile(rf"\.{re.escape(out.name)}\.[0-9a-f]{{{_KEY_LENGTH}}}\.training")
    shutil.rmtree(shared, ignore_errors=True)
    for folder in [folder for folder in out.parent.iterdir() if own.fullmatch(folder.name)]:
        held = _lock(folder)
        if held is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


def _lock(folder: Path) -> int | None:
    """An open descriptor that holds the folder's lock; None when another process has it, or nobody can."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(held), os.stat(folder / "lock")):
                return held
        except FileNotFoundError:  # the other attempt ended in between and removed the folder
            os.close(held)
            continue
        except BlockingIOError:  # held by another
            os.close(held)
            return None
        except OSError as error:
            _log.warning(
                "%s: no locks on this file system (%s): an interrupted training begins again there",
                folder.parent,
                error.strerror,
            )
            os.close(held)
            return None
        os.close(held)


def newest(work: Path) -> tuple[Path, Memory] | None:
    """The latest whole checkpoint and what was measured up to it; one whose mark is damaged is none."""
    marks = sorted(work.glob(f"{_CHECKPOINT}*/{_MARK}"), key=lambda mark: _number(mark.parent))
    for mark in reversed(marks):
        memory = _read_mark(mark)
        if memory is not None:
            return mark.parent, memory
    return None


def _read_mark(path: Path) -> Memory | None:
    """What `mark_whole` wrote; None where that was damaged since."""
    try:
        found = read_json(path)
        steps = [Step(**step) for step in found["steps"]]
        scores = [Score(score["step"], score["score"], tuple(score["files"])) for score in found["scores"]]
    except (CheckpointError, FileNotFoundError, KeyError, TypeError):
        return None
    numbers = [*(value for step in steps for value in asdict(step).values()), *(one.score for one in scores)]
    return Memory(steps, scores) if all(isinstance(one, int | float) for one in numbers) else None


def mark_whole(checkpoint: Path, memory: Memory) -> None:
    """Make a written checkpoint the one to go on from, durably, with the best weights so far; remove what it
    makes needless.
    """
    work, chosen = checkpoint.parent, memory.chosen
    for folder in (checkpoint, *([candidate(work, chosen.step)] if chosen else [])):
        for path in folder.rglob("*"):
            if path.is_file():
                sync_file(path)
        sync_directory(folder)
    sync_directory(work)
    atomic_write(checkpoint / _MARK, json.dumps(asdict(memory)).encode())
    for folder in work.iterdir():
        needless = folder.name.startswith(_CHECKPOINT) and folder != checkpoint
        beaten = folder.name.startswith(_BEST) and (chosen is None or _number(folder) != chosen.step)
        if needless or beaten:
            shutil.rmtree(folder)


def candidate(work: Path, step: int) -> Path:
    """The folder of the weights after `step` steps."""
    return work / f"{_BEST}{step}"


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])
