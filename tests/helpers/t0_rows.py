"""One invented row for every data set of the t0 suites, in its hub columns, and what is asked of it.

`SHOWN[task]` is (row, prompt, right answer): the text a model reads, and what must be right after it and a
space. The rows are made up; no data set is copied here.
"""

from __future__ import annotations

from pathlib import Path

from evals.suites import Suite
from tests.helpers import t0_held_in, t0_held_out
from tests.helpers.tasks import write_rows

SHOWN = t0_held_in.ROWS | t0_held_out.ROWS


def write_copies(suite: Suite, folder: Path) -> Path:
    """A folder with every local file of a suite, each of two rows of that set; returns it."""
    for task in suite.tasks:
        if task.local is not None:
            for _, names in task.local.data:
                for name in names:
                    write_rows(folder / name, [SHOWN[task.name][0]] * 2)
    return folder
