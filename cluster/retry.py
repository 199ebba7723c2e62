"""Says whose fault a failure is, how often a unit is tried and how long one attempt may take.

Pure decisions: it starts nothing, waits for nothing and knows no Ray (executors translate what Ray raises
into `WorkerLost` before they ask).

A machine fault is worth another try on another worker: the process or its node died, the connection broke,
the disk or the mount answered with an error that comes and goes. Everything else is a program fault, and so
are the errors that stay true wherever the unit runs: a full disk, a missing file, a missing right.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Literal

Kind = Literal["machine", "program"]

MACHINE_ERRNOS = frozenset(
    {
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EIO,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENOLINK,
        errno.ENOTCONN,
        errno.EPIPE,
        errno.EREMOTEIO,
        errno.ESHUTDOWN,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)


class WorkerLost(Exception):
    """The process that ran the unit, its node or its answer is gone. Raised by executors only."""


def classify(error: BaseException) -> Kind:
    """Whose fault `error` is, following `raise ... from cause` as far as it goes.

    An OSError is judged by its number alone: time-outs that libraries (Ray among them) derive from OSError
    without a number say nothing about a machine. A ConnectionError is a lost connection with or without
    one.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, WorkerLost | ConnectionError):
            return "machine"
        if isinstance(cause, OSError) and cause.errno in MACHINE_ERRNOS:
            return "machine"
        seen.add(id(cause))
        cause = cause.__cause__
    return "program"


@dataclass(frozen=True)
class Policy:
    """How stubborn an executor is.

    `max_attempts` counts the first one. An attempt that has run `deadline_factor` times longer than
    expected, and at least `min_deadline_s`, gets company: a new attempt starts and the first answer counts.
    Before attempt n + 1 after a fault the executor waits `pause_s * 4 ** (n - 1)` seconds, at most
    `max_pause_s`.
    """

    max_attempts: int = 4
    deadline_factor: float = 10.0
    min_deadline_s: float = 120.0
    pause_s: float = 0.25
    max_pause_s: float = 30.0

    def may_retry(self, kind: Kind, attempts: int) -> bool:
        """Whether a unit that has had `attempts` attempts gets another after a fault of this kind."""
        return kind == "machine" and attempts < self.max_attempts

    def pause_before_s(self, attempts: int) -> float:
        """Seconds to wait before the next attempt of a unit that has had `attempts` (>= 1)."""
        return min(self.max_pause_s, self.pause_s * 4.0 ** (attempts - 1))

    def deadline_s(self, expected_s: float) -> float | None:
        """Seconds one attempt may run before it gets company; None (never) when nothing is known (0)."""
        return max(self.min_deadline_s, self.deadline_factor * expected_s) if expected_s > 0 else None
