"""Atomic writes and flushes: after a crash a file is the old one or the new one."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from pathlib import Path

import pytest

from pipeline.checkpoint.files import atomic_write, sync_directory, sync_file


def test_atomic_write_replaces_whole_files(tmp_path: Path) -> None:
    """The new content is there, the old one gone, and nothing else is left in the directory."""
    path = tmp_path / "f"
    atomic_write(path, b"one")
    atomic_write(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_leaves_the_old_file_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure before the rename keeps the old content and removes the new."""
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_flushes_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is on the disk before it gets its name, and the name is on the disk before it returns."""
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(fd: int) -> None:
        target = Path(os.readlink(f"/proc/self/fd/{fd}"))
        content = target.read_bytes().decode() if target.is_file() else "directory"
        events.append(f"flush {content}")
        fsync(fd)

    def noted_replace(source: Path, target: Path) -> None:
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr("os.fsync", noted_fsync)
    monkeypatch.setattr("os.replace", noted_replace)
    atomic_write(tmp_path / "f", b"content")
    assert events == ["flush content", "rename", "flush directory"]
    sync_file(tmp_path / "f")
    assert events[3:] == ["flush content"]


@pytest.mark.parametrize(
    ("number", "passes"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)]
)
def test_a_directory_that_cannot_be_flushed_is_accepted(
    number: int, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without directory flushes is fine; a real failure is not swallowed."""

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", fail)
    with nullcontext() if passes else pytest.raises(OSError, match="Input/output"):
        sync_directory(tmp_path)


def test_a_killed_writer_never_leaves_half_a_file(tmp_path: Path) -> None:
    """A process killed while it rewrites a file over and over leaves one of the two whole contents."""
    path = tmp_path / "f"
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from pipeline.checkpoint.files import atomic_write
        print("ready", flush=True)
        while True:
            for letter in b"ab":
                atomic_write(Path({str(path)!r}), bytes([letter]) * 1_000_000)
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        while not path.exists():
            assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    assert path.read_bytes() in (b"a" * 1_000_000, b"b" * 1_000_000)
