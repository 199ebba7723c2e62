"""Progress tells people in words and machines in JSON, and leaves stdout alone."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest

from cluster import progress
from cluster.progress import Meter, Progress, amount_text, duration_text


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def test_the_meter_counts_and_rates() -> None:
    """After half the bytes in ten seconds the rate is theirs and as much time is left."""
    meter = Meter(2_000_000_000, "bytes", now=100.0)
    meter.advance(1_000_000_000, 1, now=110.0)
    assert meter.rate(110.0) == pytest.approx(1e8)
    assert meter.left_s(110.0) == pytest.approx(10.0)
    assert meter.text(110.0) == "50%  1.00/2.00 GB  100.00 MB/s  10s left"


def test_earlier_work_counts_as_done_but_not_as_speed() -> None:
    """Bytes of an earlier run raise the share and leave the rate alone."""
    meter = Meter(1000, "bytes", now=0.0, done=500)
    assert meter.rate(1.0) == 0.0 and meter.left_s(1.0) is None
    meter.advance(100, 1, now=10.0)
    assert meter.rate(10.0) == pytest.approx(10.0)
    assert meter.text(10.0).startswith("60%")


def test_the_rate_is_a_recent_one() -> None:
    """A slow beginning is forgotten after the window."""
    meter = Meter(10**9, "items", now=0.0)
    meter.advance(1, 1, now=1000.0)
    for second in range(1, 62):
        meter.advance(100, 1, now=1000.0 + second)
    assert meter.rate(1061.0) == pytest.approx(100.0, rel=0.05)


def test_a_stage_of_nothing_is_complete() -> None:
    """A total of zero divides by nothing and reads as done."""
    assert Meter(0, "items", now=0.0).text(1.0).startswith("100%  0/0")


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.2, "4s"), (130, "2m 10s"), (11_100, "3h 5m"), (59.7, "1m 0s")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    """Seconds are given in the two largest units that matter."""
    assert duration_text(seconds) == text


def test_amounts_read_well() -> None:
    """Bytes have decimal units, items none."""
    assert [amount_text(n, "bytes") for n in (340, 1.5e6, 2e12)] == ["340 B", "1.50 MB", "2.00 TB"]
    assert amount_text(12.0, "items") == "12"


def test_plain_lines_for_log_files(capsys: pytest.CaptureFixture[str]) -> None:
    """Away from a terminal there is at least a last line with label, share and amount, on stderr alone."""
    with Progress(1000, "merging ties") as shown:
        shown.advance(1000)
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("merging ties  100%  1.00/1.00 kB") and line.endswith("done")


def test_a_long_stage_reports_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain lines come at their interval even when nothing advances."""
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.02)
    stream = io.StringIO()
    with Progress(10, "waiting", unit="items", stream=stream):
        time.sleep(0.3)
    assert len(stream.getvalue().splitlines()) >= 3


def test_one_live_line_on_a_terminal() -> None:
    """On a terminal the figures stand in words, and notes have lines of their own."""
    stream = Terminal()
    with Progress(2_000_000, "merging [bold]", stream=stream) as shown:
        shown.note("worker lost, trying again [red]")
        shown.advance(1_000_000)
    text = stream.getvalue()
    assert "worker lost, trying again [red]" in text
    assert "merging [bold]" in text and "50%" in text and "1.00/2.00 MB" in text and "done" in text


def test_a_failed_stage_says_stopped() -> None:
    """A stage left by an exception does not read as done."""
    stream = io.StringIO()
    with pytest.raises(RuntimeError), Progress(10, "merging", stream=stream):
        raise RuntimeError("boom")
    assert stream.getvalue().rstrip().endswith("stopped")


def test_disabled_is_silent_but_machines_are_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Disabled, nothing is shown; the JSON lines hold every event all the same."""
    path = tmp_path / "logs" / "events.jsonl"
    with Progress(100, "merging", enabled=False, jsonl=path, done=20) as shown:
        shown.advance(30, units=2)
        shown.note("hello")
    assert capsys.readouterr() == ("", "")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [event["event"] for event in events] == ["start", "advance", "note", "end"]
    assert events[0]["total"] == 100 and events[0]["done"] == 20
    assert events[1] | {"time_s": 0} == {
        "time_s": 0, "event": "advance", "label": "merging", "amount": 30, "units": 2, "done": 50,
    }  # fmt: skip
    assert events[2]["text"] == "hello"
    assert (events[3]["how"], events[3]["done"], events[3]["units"]) == ("done", 50, 2)
