"""Whose fault a failure is, and how stubborn the policy is."""

from __future__ import annotations

import errno

import pytest

from cluster.retry import Policy, WorkerLost, classify


class LibraryTimeout(RuntimeError, TimeoutError):
    """Like Ray's GetTimeoutError: an OSError by descent, without a number."""


def caused(error: Exception, cause: BaseException) -> Exception:
    """`raise error from cause`, caught."""
    try:
        raise error from cause
    except type(error) as raised:
        return raised


@pytest.mark.parametrize(
    "error",
    [
        WorkerLost("gone"),
        OSError(errno.EIO, ""),
        OSError(errno.ESTALE, ""),
        OSError(errno.ETIMEDOUT, ""),
        OSError(errno.EHOSTDOWN, ""),
        ConnectionResetError(),
        BrokenPipeError(errno.EPIPE, ""),
        caused(ValueError("cannot read the header"), OSError(errno.EIO, "")),
    ],
    ids=repr,
)
def test_machine_faults(error: BaseException) -> None:
    """Lost workers, broken connections and passing disk errors are the machine's fault, causes included."""
    assert classify(error) == "machine"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, ""),
        PermissionError(errno.EACCES, ""),
        FileNotFoundError(errno.ENOENT, ""),
        OSError("no number"),
        LibraryTimeout("a library's own deadline"),
        TimeoutError(),
        ValueError(),
        MemoryError(),
        caused(ValueError(), KeyError()),
    ],
    ids=repr,
)
def test_program_faults(error: BaseException) -> None:
    """What stays true on another machine, or says nothing of one, is the program's fault."""
    assert classify(error) == "program"


def test_a_context_is_not_a_cause() -> None:
    """An I/O error that was handled when the real error arose does not make that one a machine fault."""
    try:
        try:
            raise OSError(errno.EIO, "")
        except OSError:
            raise ValueError("unrelated")  # noqa: B904 -- the point of the test
    except ValueError as error:
        assert classify(error) == "program"


def test_a_ring_of_causes_ends() -> None:
    """Exceptions that cause each other are classified, not followed for ever."""
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert classify(first) == "program"


def test_attempts_end() -> None:
    """Machine faults are retried until max_attempts, program faults never."""
    policy = Policy(max_attempts=3)
    assert [policy.may_retry("machine", n) for n in (1, 2, 3)] == [True, True, False]
    assert not policy.may_retry("program", 1)


def test_deadlines() -> None:
    """A deadline is the factor times the expectation, at least the minimum; without one there is none."""
    policy = Policy(deadline_factor=10, min_deadline_s=60)
    assert policy.deadline_s(0) is None
    assert policy.deadline_s(1) == 60
    assert policy.deadline_s(30) == 300


def test_pauses_grow_and_are_bounded() -> None:
    """Each retry waits four times longer than the one before, up to the limit."""
    policy = Policy(pause_s=0.5, max_pause_s=10)
    assert [policy.pause_before_s(n) for n in (1, 2, 3, 4)] == [0.5, 2.0, 8.0, 10.0]
