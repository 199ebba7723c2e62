"""Receipts of finished units in one append-only file of JSON lines, on storage that outlives the driver.

The first line names the plan by its fingerprint; then come one line per driver that opened the file and one
per receipt. One driver at a time holds it, by flock, which the kernel gives back however the driver ends.
Every line is on the disk before `append` returns; a line torn by a crash can only be the last one and is
cut off. Each receipt carries a checksum; one that was changed since counts as not there. It is a regular file
with one name, never a link. It knows nothing of what a receipt says.
"""

from __future__ import annotations

import json
import os
import socket
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cluster.contract import ClusterError
from cluster.locked_file import HeldError, is_locked, open_locked, open_plain

FORMAT = 1
Receipt = dict[str, Any]
MOST_BYTES = 4 << 30  # no ledger is longer: a receipt has a few hundred bytes


class DamagedLedger(ClusterError):
    """A ledger says what no ledger says, before its last line."""


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

        With `fingerprint=None` the file is only held, whatever it says, and cannot be appended to.

        Raises:
            ClusterError: another driver holds it, it is another plan's, the file system has no locks, or
                it is no regular file. DamagedLedger: it is damaged before its end.
            OSError: the file cannot be made, read or written.
        """
        try:
            descriptor = open_locked(path, os.O_RDWR | os.O_APPEND)
        except HeldError as held:
            raise _held(held.descriptor, path) from None
        try:
            contents = Contents() if fingerprint is None else _parse(_read_all(descriptor, path), path)
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
        entry = {"unit": unit_id, "receipt": dict(receipt)}
        line = _line({**entry, "check": _check(entry)})
        self._write(line)
        self.done[unit_id] = json.loads(line)["receipt"]

    def clear(self) -> None:
        """Forget everything: the file is held still, and says nothing."""
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, 0)
        self.done.clear()

    def remove(self) -> None:
        """Remove the file and give it back. Who waits for it then makes a new one."""
        self.path.unlink(missing_ok=True)
        self.close()

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

    Raises DamagedLedger when it is damaged before its end, ClusterError when it is no regular file, OSError
    when it cannot be read.
    """
    try:
        descriptor = open_plain(path, os.O_RDONLY)
    except FileNotFoundError:
        return Contents()
    try:
        return _parse(_read_all(descriptor, path), path)
    finally:
        os.close(descriptor)


def read_ledger(path: Path) -> dict[str, Receipt]:
    """The receipts in the ledger at `path`, by unit id; see `read_contents`."""
    return read_contents(path).done


def is_held(path: Path) -> bool:
    """Whether a driver holds the ledger at this moment. Raises OSError when the file cannot be opened."""
    return is_locked(path)


def _held(descriptor: int, path: Path) -> ClusterError:
    """Who holds the ledger, as far as it says so; closes the descriptor."""
    try:
        holder = _parse(_read_all(descriptor, path), path).holder
    except DamagedLedger:
        holder = {}
    finally:
        os.close(descriptor)
    who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
    return ClusterError(
        f"{who} is working on {path}", "wait for it or end it; then run the same command again"
    )


def _read_all(descriptor: int, path: Path) -> bytes:
    size_bytes = os.fstat(descriptor).st_size
    if size_bytes > MOST_BYTES:
        raise DamagedLedger(
            f"{path} is damaged: {size_bytes:,} bytes are more than a ledger has",
            "start over in an empty directory",
        )
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
            raise DamagedLedger(
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
    """One line as data; None when it is torn, damaged or foreign."""
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and _is_known(entry) else None


def _is_known(entry: dict[str, Any]) -> bool:
    """Whether a line says what one of the three kinds of lines says, in the right types."""
    if "ledger" in entry:
        return type(entry["ledger"]) is int and isinstance(entry.get("fingerprint"), str)
    if "opened" in entry:
        holder = entry["opened"]
        return (
            isinstance(holder, dict)
            and type(holder.get("pid")) is int
            and isinstance(holder.get("host"), str)
        )
    return isinstance(entry.get("unit"), str) and isinstance(entry.get("receipt"), dict)


def _take(entry: dict[str, Any], contents: Contents) -> None:
    if "ledger" in entry:
        contents.fingerprint = entry["fingerprint"]
    elif "opened" in entry:
        contents.holder = entry["opened"]
    elif entry.pop("check", None) in (None, _check(entry)):  # None: a line of an earlier version
        contents.done[entry["unit"]] = entry["receipt"]


def _check(entry: Mapping[str, Any]) -> str:
    """The checksum of a receipt's line, as 8 hex digits: it tells any change of a few bits."""
    return f"{zlib.crc32(json.dumps(entry, separators=(',', ':'), sort_keys=True).encode()):08x}"


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
