"""Our exceptions, drawn as a tree. They hold data; the text is built when somebody reads it.

MergescaleError               exit 1   something went wrong
├── InputError                exit 2   what the user gave is wrong; nothing was written
│   ├── ConfigError                    a config file: `where` is "file: path.in.it"
│   ├── CheckpointError                a model directory, one of its files or tensors
│   └── OutputError                    the output directory holds something else
└── RunError                  exit 1   the work failed after it began; it can be resumed
    ├── UnitError                      one unit of work failed
    └── VerifyError                    bytes on disk are not what the manifest says
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from typing import Any

_MOST_FIELD = 4000
#: Names are compared in a time that grows with the square of their length.
_MOST_COMPARED = 200
#: Joins the items of a list inside a field of an error, so that they stand below each other.
LIST_ITEM = "\n" + " " * 12


def shown(text: object, most: int = 200) -> str:
    """Make text from outside fit to print: one line, printable characters only, at most `most` of them.

    For every name of a file, tensor, model or task on a terminal, in a table, an error or a plot: control
    characters become their escapes, so that a name cannot move the cursor or fake a line of ours.
    """
    found = str(text)
    clipped = found if len(found) <= most else found[: most - 1] + "…"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in clipped)


def shown_lines(text: object, most: int = 4000) -> str:
    """Make text of several lines fit to print, each as `shown` does: for messages and tables of ours."""
    return "\n".join(shown(line, most) for line in str(text).split("\n"))


def _field(text: str) -> str:
    """A field of an error, fit to print; only the line ends of our own lists (`LIST_ITEM`) are kept."""
    clipped = text if len(text) <= _MOST_FIELD else text[: _MOST_FIELD - 1] + "…"
    return LIST_ITEM.join(shown(line, _MOST_FIELD) for line in clipped.split(LIST_ITEM))


class MergescaleError(Exception):
    """What happened, where, what was expected, what was found, and what to do about it.

    `hint` is one sentence that starts with a verb. Empty fields are left out of the text.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, where: str = "", expected: str = "", found: str = "", hint: str = ""
    ) -> None:
        super().__init__(what)
        self.what, self.where, self.expected, self.found, self.hint = what, where, expected, found, hint

    def __str__(self) -> str:
        fields = ("where", "expected", "found", "hint")
        lines = [f"  {name + ':':<10}{_field(getattr(self, name))}" for name in fields if getattr(self, name)]
        return "\n".join([_field(self.what), *lines])

    @property
    def one_line(self) -> str:
        """What `str` says, in one line: for lists in which each reason has a place of its own."""
        fields = ("where", "expected", "found", "hint")
        given = (f"{name}: {getattr(self, name)}" for name in fields if getattr(self, name))
        return shown(" ".join("; ".join([self.what, *given]).split()), _MOST_FIELD)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        """Keyword-only fields survive the trip from a worker process."""
        fields = {name: getattr(self, name) for name in ("where", "expected", "found", "hint")}
        return partial(type(self), **fields), (self.what,)


class InputError(MergescaleError):
    """What the user gave is wrong. Raised before any work starts wherever headers can tell."""

    exit_code = 2


class ConfigError(InputError):
    """A config file says something that cannot be meant."""


class CheckpointError(InputError):
    """A model directory, one of its files or one of its tensors is not what the merge needs."""


class OutputError(InputError):
    """The output directory holds something that this run must not touch."""


class RunError(MergescaleError):
    """The work failed after it began. What was finished is kept; the same command resumes."""


class UnitError(RunError):
    """One unit of work failed and was not worth another try."""


class VerifyError(RunError):
    """Bytes on disk differ from what the manifest records."""


def near(name: str, known: list[str]) -> str:
    """A hint that offers the known name closest to `name`, or lists them all when none is close."""
    close = get_close_matches(name[:_MOST_COMPARED], known, n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else f"known names: {', '.join(sorted(known))}"
