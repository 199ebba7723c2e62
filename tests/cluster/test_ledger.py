"""The ledger keeps what it said, for one plan and one driver at a time, whatever tears it."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.contract import ClusterError
from cluster.ledger import Ledger, is_held, read_contents, read_ledger

PLAN = "a" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a ledger may lie; its directory does not exist yet."""
    return tmp_path / "run" / "receipts.jsonl"


def test_receipts_come_back(path: Path) -> None:
    """What was appended is in `done` at once, after reopening, and for readers that hold nothing."""
    with Ledger.open(path, PLAN) as ledger:
        ledger.append("u1", {"digest": "ab", "count": 3})
        ledger.append("u2", {"digest": "cd", "shape": (2, 3)})
        assert read_ledger(path) == ledger.done
    with Ledger.open(path, PLAN) as again:
        assert again.done == {"u1": {"digest": "ab", "count": 3}, "u2": {"digest": "cd", "shape": [2, 3]}}


def test_a_second_receipt_replaces_the_first(path: Path) -> None:
    """The last receipt of a unit counts."""
    with Ledger.open(path, PLAN) as ledger:
        ledger.append("u", {"try": 1})
        ledger.append("u", {"try": 2})
    assert read_ledger(path) == {"u": {"try": 2}}


def test_no_file_is_an_empty_ledger(path: Path) -> None:
    """Reading a ledger that nobody began gives nothing and creates nothing."""
    assert read_ledger(path) == {} and not is_held(path)
    assert not path.parent.exists()


def test_a_flipped_bit_makes_no_other_receipt(path: Path) -> None:
    """Whatever bit of a receipt's line flips, it says what was appended, or nothing, or is damage."""
    receipts = {"u1": {"digests": {"a.weight": "ab"}, "nonfinite": {"a.weight": 3}}, "u2": {"n": 1}}
    with Ledger.open(path, PLAN) as ledger:
        for unit_id, receipt in receipts.items():
            ledger.append(unit_id, receipt)
    data = path.read_bytes()
    first = data.index(b'{"unit":"u1"')
    absent = 0
    for bit in range(8 * first, 8 * data.index(b'{"unit":"u2"')):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            done = read_ledger(path)
        except ClusterError:
            continue
        assert all(receipts.get(unit_id) == receipt for unit_id, receipt in done.items())
        absent += "u1" not in done and "u2" in done
    assert absent > 100


def test_receipts_without_a_checksum_count(path: Path) -> None:
    """Receipts that an earlier version wrote are gone on with."""
    Ledger.open(path, PLAN).close()
    with path.open("a") as file:
        file.write('{"unit":"u1","receipt":{"n":1}}\n')
    with Ledger.open(path, PLAN) as ledger:
        assert ledger.done == {"u1": {"n": 1}}


def test_another_plan_is_refused(path: Path) -> None:
    """Receipts of one plan cannot be continued by another, and the file is left as it is."""
    Ledger.open(path, PLAN).close()
    before = path.read_bytes()
    with pytest.raises(ClusterError, match="another plan"):
        Ledger.open(path, "b" * 64)
    assert path.read_bytes() == before
    Ledger.open(path, PLAN).close()


def test_a_second_driver_learns_who_holds_it(path: Path) -> None:
    """While a ledger is open another driver gets an error naming process and host; afterwards it is free."""
    with Ledger.open(path, PLAN):
        assert is_held(path)
        with pytest.raises(ClusterError, match=f"process {os.getpid()} on {socket.gethostname()}"):
            Ledger.open(path, PLAN)
    assert not is_held(path)
    Ledger.open(path, PLAN).close()


def test_a_killed_driver_leaves_what_it_appended(path: Path) -> None:
    """After kill -9 every receipt that `append` returned for is there and the lock is free."""
    script = (
        "import os, signal, sys; from pathlib import Path; from cluster.ledger import Ledger\n"
        f"ledger = Ledger.open(Path(sys.argv[1]), {PLAN!r})\n"
        "for n in range(50): ledger.append(f'u{n}', {'n': n})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    child = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert child.returncode == -signal.SIGKILL
    with Ledger.open(path, PLAN) as ledger:
        assert ledger.done == {f"u{n}": {"n": n} for n in range(50)}


@pytest.mark.parametrize(
    "torn", [b'{"unit":"u3","rec', b'{"unit":"u3","receipt":{}}', b"\0\0\0\0", b"nonsense\n"]
)
def test_a_torn_last_line_is_cut_off(torn: bytes, path: Path) -> None:
    """A last line that a crash left unfinished is ignored by readers and cut off by the next driver."""
    with Ledger.open(path, PLAN) as ledger:
        ledger.append("u1", {})
    with path.open("ab") as file:
        file.write(torn)
    torn_bytes = path.read_bytes()
    assert list(read_ledger(path)) == ["u1"]
    assert path.read_bytes() == torn_bytes, "reading changes nothing"
    with Ledger.open(path, PLAN) as ledger:
        ledger.append("u2", {})
    assert list(read_ledger(path)) == ["u1", "u2"]
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


def test_every_cut_of_the_file_can_be_continued(path: Path) -> None:
    """Wherever a crash cuts the file, reopening keeps the whole lines before the cut and accepts more."""
    with Ledger.open(path, PLAN) as ledger:
        for number in range(3):
            ledger.append(f"u{number}", {"n": number})
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        expected = [line for line in data[:length].splitlines(keepends=True) if line.endswith(b"\n")]
        kept = [json.loads(line)["unit"] for line in expected if b'"unit"' in line]
        with Ledger.open(path, PLAN) as ledger:
            assert list(ledger.done) == kept
            ledger.append("more", {})
        assert list(read_ledger(path)) == [*kept, "more"]


def test_damage_inside_is_refused(path: Path) -> None:
    """A line that cannot be read before the last one is damage, named by its number, not a torn end."""
    with Ledger.open(path, PLAN) as ledger:
        ledger.append("u1", {})
        ledger.append("u2", {})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"garbage\n", *lines[3:]]))
    with pytest.raises(ClusterError, match="line 3 of 4"):
        Ledger.open(path, PLAN)
    with pytest.raises(ClusterError, match="line 3 of 4"):
        read_ledger(path)


def test_a_future_format_is_refused(path: Path) -> None:
    """A ledger of another format is not guessed at."""
    path.parent.mkdir()
    path.write_text('{"ledger":2,"fingerprint":"x"}\n')
    with pytest.raises(ClusterError, match="format 2"):
        Ledger.open(path, PLAN)


def test_holding_without_a_plan(path: Path) -> None:
    """Opened without fingerprint the file is held whatever its plan, unchanged, and takes no receipts."""
    Ledger.open(path, PLAN).close()
    before = path.read_bytes()
    with Ledger.open(path, None) as held:
        assert is_held(path)
        with pytest.raises(ValueError, match="not open for receipts"):
            held.append("u", {})
    assert path.read_bytes() == before


def test_closed_ledgers_take_nothing(path: Path) -> None:
    """After close nothing can be appended; closing again is fine."""
    ledger = Ledger.open(path, PLAN)
    ledger.close()
    ledger.close()
    with pytest.raises(ValueError, match="not open"):
        ledger.append("u", {})


def test_a_full_disk_takes_its_half_line_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fills up in the middle of a line, the caller hears of it and the half line is gone."""
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr("os.write", full)
        return write(descriptor, data[: len(data) // 2])

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Ledger.open(path, PLAN) as ledger:
        before = path.read_bytes()
        monkeypatch.setattr("os.write", half)
        with pytest.raises(OSError, match="No space left"):
            ledger.append("u1", {})
        monkeypatch.setattr("os.write", write)
        assert path.read_bytes() == before and ledger.done == {}
        ledger.append("u2", {})
    assert list(read_ledger(path)) == ["u2"]


def test_the_holder_is_on_record(path: Path) -> None:
    """The file tells which process on which host opened it last."""
    Ledger.open(path, PLAN).close()
    contents = read_contents(path)
    assert contents.fingerprint == PLAN
    assert (contents.holder["pid"], contents.holder["host"]) == (os.getpid(), socket.gethostname())
