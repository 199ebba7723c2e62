"""Keeping lm-eval's bars and notes off the screen. What else is written comes through."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from pipeline.errors import shown

_BAR = re.compile(r"%\||/s\]\s*$")
#: Logger -> the least level that comes through. `datasets` logs as errors what it raises as well.
_LOGGERS = {"lm_eval": logging.ERROR, "transformers": logging.ERROR, "datasets": logging.CRITICAL}


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back bars, notes about defaults (suites check them) and about cut prompts (records count them).

    Libraries must be imported before: they set their own level and keep the stream that they find then.
    """
    held = io.StringIO()
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name, level in _LOGGERS.items():
        logging.getLogger(name).setLevel(level)
    try:
        with redirect_stderr(held), redirect_stdout(held):
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for line in held.getvalue().replace("\r", "\n").splitlines():
            if line.strip() and not _BAR.search(line):
                print(shown(line, 4000), file=sys.stderr)
