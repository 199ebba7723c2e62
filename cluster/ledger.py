"""Receipts of finished units in one append-only file of JSON lines, on storage that outlives the driver.

The first line names the plan by its fingerprint; then come one line per driver that opened the file and one
per receipt. One driver at a time holds it, by flock, which the kernel gives back however the driver ends.
Every line is on the disk before `append` returns; a line torn by a crash can only be the last one and is
cut off. It knows nothing of what a receipt says.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cluster.contract import ClusterError

FORMAT = 1
Receipt = dict[str, Any]
LOCK_TRIES, LOCK_PAUSE_S = 5, 0.1  # long enough for somebody who only looks whether the file is held


@dataclass
class Contents:
    """What a ledger file says: its plan, its last driver, what is done, how many bytes are whole lines."""

    fingerprint: str = ""
    holder: dict[str, Any] = field(default_factory=dict)
    done: dict[str, Receipt] = field(default_factory=dict)
    whole_bytes: int = 0


class Ledger:
    """An open ledger, held until `close`. `done` maps unit ids to receipts, in the order they came."""

    def __init__(self, path: Path, descriptor: int, fingerprint: str | None, contents: Contents) -> None:
        self.path, self.fingerprint = path, fingerprint
        self.done = contents.done
        self._descriptor: int | None = descriptor

    @classmethod
    def open(cls, path: Path, fingerprint: str | None) -> Ledger:
        """Open or create the ledger of the plan with this fingerprint; a torn last line is cut off.

        With `fingerprint=None` the file is only held, whatever plan it belongs to, and cannot be appended to.

        Raises:
            ClusterError: another driver holds it, it belongs to another plan, it is damaged before its end,
            or
                the file system has no locks.
            OSError: the file cannot be made, read or written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            _lock(descriptor, path)
            contents = _parse(_read_all(descriptor), path)
            ledger = cls(path, descriptor, fingerprint, contents)
            if fingerprint is not None:
                ledger._begin(contents)
        except BaseException:
            os.close(descriptor)
            raise
        return ledger

    def append(self, unit_id: str, receipt: Mapping[str, Any]) -> None:
        """Record a finished unit; when this returns it is on the disk. A second receipt of a unit replaces
        the first.

        Raises OSError when the disk refuses, TypeError when the receipt is not JSON.
        """
        if self._descriptor is None or self.fingerprint is None:
            raise ValueError(f"the ledger {self.path} is not open for receipts")
        line = _line({"unit": unit_id, "receipt": dict(receipt)})
        self._write(line)
        self.done[unit_id] = json.loads(line)["receipt"]

    def close(self) -> None:
        """Give the file back. Closing twice is fine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, contents: Contents) -> None:
        """Check whose file it is, drop a torn line, and note who holds it now."""
        assert self._descriptor is not None and self.fingerprint is not None
        if contents.fingerprint not in ("", self.fingerprint):
            raise ClusterError(
                f"{self.path} holds receipts of another plan ({contents.fingerprint[:12]}, "
                f"not {self.fingerprint[:12]})",
                "start over in an empty directory, or run the plan it belongs to",
            )
        os.ftruncate(self._descriptor, contents.whole_bytes)
        lines = b""
        if not contents.fingerprint:
            lines = _line({"ledger": FORMAT, "fingerprint": self.fingerprint})
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "time_s": round(time.time(), 3)}
        self._write(lines + _line({"opened": holder}))
        _sync_directory(self.path.parent)

    def _write(self, data: bytes) -> None:
        """Append whole or not at all: what a full disk cut short is taken back."""
        assert self._descriptor is not None
        size = os.fstat(self._descriptor).st_size
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, size)
            raise


def read_contents(path: Path) -> Contents:
    """What the ledger at `path` says now, without holding or changing it; nothing when there is no file.

    Raises ClusterError when it is damaged before its end, OSError when it cannot be read.
    """
    try:
        return _parse(path.read_bytes(), path)
    except FileNotFoundError:
        return Contents()


def read_ledger(path: Path) -> dict[str, Receipt]:
    """The receipts in the ledger at `path`, by unit id; see `read_contents`."""
    return read_contents(path).done


def is_held(path: Path) -> bool:
    """Whether a driver holds the ledger at this moment. Raises OSError when the file cannot be opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock(descriptor: int, path: Path) -> None:
    for remaining in reversed(range(LOCK_TRIES)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if remaining:
                time.sleep(LOCK_PAUSE_S)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            raise ClusterError(
                f"the file system of {path} has no file locks ({error.strerror})",
                "mount it with locks (Lustre: -o flock; NFS: lockd), or put the output elsewhere",
            ) from error
    holder = _parse(_read_all(descriptor), path).holder
    who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
    raise ClusterError(
        f"{who} is working on {path}", "wait for it or end it; then run the same command again"
    )


def _read_all(descriptor: int) -> bytes:
    chunks, offset = [], 0
    while chunk := os.pread(descriptor, 1 << 20, offset):
        chunks.append(chunk)
        offset += len(chunk)
    return b"".join(chunks)


def _parse(data: bytes, path: Path) -> Contents:
    """Read the lines; the last one may be torn, any other that cannot be read is damage."""
    contents = Contents()
    lines = data.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        entry = _entry(line)
        if entry is None:
            if number == len(lines):
                break
            raise ClusterError(
                f"{path} is damaged: line {number} of {len(lines)} is not a ledger line",
                "start over in an empty directory",
            )
        if entry.get("ledger", FORMAT) != FORMAT:
            raise ClusterError(
                f"{path} has format {entry['ledger']}, this version writes format {FORMAT}",
                "finish with the version that began, or start over in an empty directory",
            )
        _take(entry, contents)
        contents.whole_bytes += len(line)
    return contents


def _entry(line: bytes) -> dict[str, Any] | None:
    """One line as data; None when it is torn or foreign."""
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict):
        return None
    known = {"unit", "receipt"} <= entry.keys() or entry.keys() & {"opened", "ledger"}
    return entry if known else None


def _take(entry: dict[str, Any], contents: Contents) -> None:
    if "ledger" in entry:
        contents.fingerprint = str(entry.get("fingerprint", ""))
    elif "opened" in entry:
        contents.holder = entry["opened"]
    else:
        contents.done[entry["unit"]] = entry["receipt"]


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
