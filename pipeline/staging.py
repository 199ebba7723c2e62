"""The work directory of a running merge: beside the output, never looking like a model, resumable, fenced by
fingerprint.

    OUT.mergescale/
    ├── plan.json               what is being built, from what (headers, sizes, times of change)
    ├── receipts.jsonl          the ledger: one line a finished unit
    ├── partials/               measures of finished measuring units
    └── model-<fingerprint>/    the model under construction, pre-sized; renamed to OUT at the very end

It keeps what is finished; it computes nothing. What may be resumed is decided in `output.py`.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.ledger import Ledger
from pipeline.checkpoint.files import atomic_write, create_sized, sync_directory
from pipeline.errors import RunError
from pipeline.output import (
    LEDGER_NAME,
    PLAN_NAME,
    check_output,
    check_work_directory,
    input_records,
    work_directory,
)
from pipeline.plan.plan import MergePlan
from pipeline.untrusted import canonical_json


class Staging:
    """An open work directory, held by one driver at a time through its ledger's lock.

    `done` is the manifest of a driver that published this merge while we were waiting for the lock, else
    None.
    """

    def __init__(self, plan: MergePlan, out: Path, fresh: bool) -> None:
        self.plan, self.out, self.root = plan, out, work_directory(out)
        # The name carries the plan, so that no worker of another plan can write into it.
        self.model = self.root / f"model-{plan.fingerprint[:12]}"
        self.partials = self.root / "partials"
        if fresh:
            clear_leftovers(out)
        self.root.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger.open(self.root / LEDGER_NAME, plan.fingerprint)
        try:
            self.done = check_output(plan, out, fresh)
            if self.done is None:
                self._prepare()
        except BaseException:
            self.ledger.close()
            raise

    def _prepare(self) -> None:
        """Plan file first, then pre-sized output files with their headers; what was laid down stays.

        Sizes and headers are on the disk before the first receipt can be, so that no crash leaves receipts
        beside a file without its header.
        """
        self.partials.mkdir(exist_ok=True)
        self.model.mkdir(exist_ok=True)
        described = {
            **self.plan.summary(),
            "input_files": input_records(self.plan),
            "unit_ids": [unit.id for unit in self.plan.units],
        }
        atomic_write(self.root / PLAN_NAME, json.dumps(described, indent=1).encode())
        for shard in () if self.plan.discard else self.plan.shards:
            create_sized(self.model / shard.name, shard.size_bytes, shard.header)
        for directory in (self.model, self.root, self.root.parent):
            sync_directory(directory)

    def save_partials(self, unit_id: str, data: Mapping[str, Any]) -> None:
        """Keep a measuring unit's result, then its receipt, so that a resumed run need not measure again."""
        atomic_write(self.partials / f"{unit_id}.json", canonical_json(data).encode())
        self.ledger.append(unit_id, {"read_bytes": data["read_bytes"], "elapsed_s": data["elapsed_s"]})

    def load_partials(self, unit_id: str) -> dict[str, Any] | None:
        """What `save_partials` kept, or None."""
        path = self.partials / f"{unit_id}.json"
        if unit_id not in self.ledger.done or not path.exists():
            return None
        held: dict[str, Any] = json.loads(path.read_bytes())
        return held

    def discard(self) -> None:
        """The model has been published: remove the work directory, then give the lock up."""
        shutil.rmtree(self.root)
        self.ledger.close()


def clear_leftovers(out: Path) -> None:
    """Remove a work directory that is not wanted any more; refused while another driver holds it.

    Raises OutputError when it is not ours, ClusterError naming the driver that works in it.
    """
    root = work_directory(out)
    check_work_directory(out)
    if root.exists():
        with Ledger.open(root / LEDGER_NAME, fingerprint=None):
            shutil.rmtree(root)


def explain(error: OSError, where: str) -> RunError:
    """A storage failure in words: what cannot be done, where, and how to go on."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    gone = error.errno in (errno.ENOENT, errno.ENOTDIR)
    what = "the disk is full" if full else f"the storage failed: {error.strerror or error}"
    mend = "free some space" if full else "bring the file back" if gone else "mend the storage"
    return RunError(
        what,
        where=str(error.filename or where),
        hint=f"{mend} and run the same command again: finished work is kept",
    )
