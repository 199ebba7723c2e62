"""Progress of one stage of a run: a live line for people, plain lines for log files, JSON lines for machines.

People are served on stderr (stdout belongs to the command's data), in words and figures: colour and bar
only repeat what the text says. It counts bytes or items and knows nothing of what they are.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

LIVE_EVERY_S = 0.5
PLAIN_EVERY_S = 10.0
RATE_WINDOW_S = 30.0
_MOST_CHARACTERS = 4000
_SCALES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


class Meter:
    """Counts and rates without clock or screen: `now` is in seconds from any fixed point.

    `done` is what an earlier run had finished: it counts as done, but not for the rate.
    """

    def __init__(self, total: int, unit: Literal["bytes", "items"], now: float, done: int = 0) -> None:
        self.total, self.unit, self.done, self.units = total, unit, done, 0
        self._begun_s, self._points = now, deque([(now, done)])

    def advance(self, amount: int, units: int, now: float) -> None:
        """`amount` bytes (or items) more are done."""
        self.done += amount
        self.units += units
        self._points.append((now, self.done))
        while len(self._points) > 2 and now - self._points[1][0] > RATE_WINDOW_S:
            self._points.popleft()

    def rate(self, now: float) -> float:
        """Bytes (or items) per second over the last half minute; 0 when nothing has been done yet."""
        since_s, before = self._points[0]
        return (self.done - before) / max(now - since_s, 1e-9) if self.done > before else 0.0

    def left_s(self, now: float) -> float | None:
        """Seconds left at the present rate; None when nobody can know."""
        rate = self.rate(now)
        return max(0, self.total - self.done) / rate if rate > 0 else None

    def text(self, now: float) -> str:
        """`42%  1.2/3.0 GB  0.85 GB/s  2m 10s left`."""
        share = f"{100 * self.done // self.total if self.total else 100}%"
        parts = [share, _of(self.done, self.total, self.unit)]
        rate, left_s = self.rate(now), self.left_s(now)
        if rate > 0:
            parts.append(f"{amount_text(rate, self.unit)}/s")
        if left_s is not None and self.done < self.total:
            parts.append(f"{duration_text(left_s)} left")
        if self.done >= self.total:
            parts.append(f"in {duration_text(now - self._begun_s)}")
        return "  ".join(parts)


class Progress:
    """Shows one stage while its context is open.

    A terminal gets one live line; anything else a plain line every ten seconds and at the end.
    `enabled=False` shows nothing. `jsonl` (appended to) gets every event in either case, as {"time_s",
    "event": "start" | "advance" | "note" | "end", "label", ...}.
    """

    def __init__(
        self,
        total: int,
        label: str,
        *,
        enabled: bool = True,
        jsonl: Path | None = None,
        unit: Literal["bytes", "items"] = "bytes",
        done: int = 0,
        stream: IO[str] | None = None,
    ) -> None:
        self._label, self._enabled, self._jsonl = _printable(label), enabled, jsonl
        self._stream = stream or sys.stderr
        self._meter = Meter(total, unit, time.monotonic(), done)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._live: RichProgress | None = None
        self._ticker: threading.Thread | None = None
        self._events: IO[str] | None = None

    def __enter__(self) -> Self:
        if self._jsonl is not None:
            self._jsonl.parent.mkdir(parents=True, exist_ok=True)
            self._events = self._jsonl.open("a", encoding="utf-8")
        meter = self._meter
        self._event("start", total=meter.total, done=meter.done, unit=meter.unit)
        if self._enabled:
            if self._stream.isatty():
                self._live = _live_line(self._stream, self._label, meter.total)
                self._live.start()
            self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._ticker is not None:
            self._ticker.join()
        how = "done" if kind is None else "stopped"
        if self._enabled:
            self._show(how)
        if self._live is not None:
            self._live.stop()
        self._event("end", how=how, done=self._meter.done, units=self._meter.units)
        if self._events is not None:
            self._events.close()

    def advance(self, amount: int, units: int = 1) -> None:
        """`amount` bytes (or items) of `units` finished units are done."""
        with self._lock:
            self._meter.advance(amount, units, time.monotonic())
        self._event("advance", amount=amount, units=units, done=self._meter.done)

    def note(self, text: str) -> None:
        """Say something beside the figures: on lines of its own above the live one."""
        self._event("note", text=text)
        text = "\n".join(_printable(line) for line in text.split("\n"))
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        elif self._enabled:
            self._say(text)

    def _tick(self) -> None:
        every_s = PLAIN_EVERY_S if self._live is None else LIVE_EVERY_S
        while not self._stop.wait(every_s):
            self._show()

    def _show(self, how: str = "") -> None:
        with self._lock:
            text = self._meter.text(time.monotonic())
        text = f"{text}  {how}" if how else text
        if self._live is None:
            self._say(f"{self._label}  {text}")
        else:
            self._live.update(self._live.task_ids[0], completed=self._meter.done, figures=text, refresh=True)

    def _say(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()

    def _event(self, event: str, **fields: Any) -> None:
        if self._events is not None:
            entry = {"time_s": round(time.time(), 3), "event": event, "label": self._label, **fields}
            self._events.write(json.dumps(entry) + "\n")
            self._events.flush()


def _printable(line: str) -> str:
    """One line without control characters, which would move the cursor or fake a line of ours."""
    clipped = line if len(line) <= _MOST_CHARACTERS else line[: _MOST_CHARACTERS - 1] + "…"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in clipped)


def amount_text(amount: float, unit: Literal["bytes", "items"]) -> str:
    """`1.2 GB`, `340 B`, or a bare figure for items."""
    if unit == "items":
        return f"{amount:.3g}"
    scale, name = _scale(amount)
    return f"{amount / scale:.2f} {name}" if scale > 1 else f"{amount:.0f} {name}"


def duration_text(seconds: float) -> str:
    """`4s`, `2m 10s`, `3h 5m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60}s"
    return f"{whole // 3600}h {whole % 3600 // 60}m"


def _of(done: int, total: int, unit: Literal["bytes", "items"]) -> str:
    if unit == "items":
        return f"{done}/{total}"
    scale, name = _scale(total)
    return f"{done / scale:.2f}/{total / scale:.2f} {name}" if scale > 1 else f"{done}/{total} B"


def _scale(amount: float) -> tuple[float, str]:
    return next(((scale, name) for scale, name in _SCALES if amount >= scale), (1.0, "B"))


def _live_line(stream: IO[str], label: str, total: int) -> RichProgress:
    """One line: what, how far, figures. Refreshed by our ticker, so that figures and bar agree."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    live = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        console=Console(file=stream),
        auto_refresh=False,
    )
    live.add_task(label, total=max(total, 1), figures="0%")
    return live
