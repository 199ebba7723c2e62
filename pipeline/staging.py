"""The work directory of a running merge: beside the output, never looking like a model, resumable, fenced by
fingerprint.

    OUT.mergescale/
    ├── owner.json              the marker: whose plan this is, and which files it makes
    ├── plan.json               what is being built, from what (headers, sizes, times of change)
    ├── receipts.jsonl          the ledger: one line a finished unit
    ├── partials/               measures of finished measuring units
    ├── model-<fingerprint>/    the model under construction, pre-sized; renamed to OUT at the very end
    └── replaced/               an earlier model at OUT, between the two renames that replace it

It keeps what is finished; it computes nothing. What may be resumed is decided in `output.py`, what in the
directory is ours in `work_directory.py`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cluster.ledger import DamagedLedger, Ledger
from pipeline.checkpoint.files import atomic_write, create_sized, digest_bytes, sync_directory
from pipeline.checkpoint.layout import ShardLayout
from pipeline.checkpoint.own import opened_own
from pipeline.errors import LIST_ITEM, InputError, OutputError, RunError
from pipeline.output import check_output
from pipeline.plan.plan import MergePlan
from pipeline.plan_record import write_plan_record
from pipeline.receipts import is_sound
from pipeline.untrusted import canonical_json, parse_json, read_small
from pipeline.work_directory import (
    LEDGER_NAME,
    PARTIALS_NAME,
    REPLACED_NAME,
    Marker,
    check_ours,
    is_unfinished,
    new_marker,
    read_marker,
    remove,
    survey,
    work_directory,
    write_marker,
)

_MOST_SHOWN = 10
_MOST_PARTIAL_BYTES = 4 << 30


class Staging:
    """An open work directory, held by one driver at a time through its ledger's lock.

    `names`: of all files of the model when it is complete, as relative names. `done` is the manifest of a
    driver that published this merge while we were waiting for the lock, else None.
    """

    def __init__(self, plan: MergePlan, out: Path, fresh: bool, names: Sequence[str]) -> None:
        self.plan, self.out, self.root = plan, out, work_directory(out)
        self.marker = new_marker(plan.fingerprint, names)
        self.model = self.root / self.marker.model
        self.partials = self.root / PARTIALS_NAME
        self.replaced = self.root / REPLACED_NAME
        if fresh:
            clear_leftovers(out)
        check_ours(self.root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.ledger = _open_ledger(self.root, plan.fingerprint)
        self._is_left = False
        try:
            self.done = check_output(plan, out, fresh)
            if self.done is None:
                self._prepare()
        except InputError:
            self.give_up()
            raise
        except BaseException:
            self.ledger.close()
            raise

    def _prepare(self) -> None:
        """Marker and plan file first, then pre-sized output files with their headers; what was laid down
        stays.

        Sizes and headers are on the disk before the first receipt can be, so that no crash leaves receipts
        beside a file without its header.
        """
        self._mark()
        for unit_id in [name for name, receipt in self.ledger.done.items() if not is_sound(name, receipt)]:
            del self.ledger.done[unit_id]
        write_plan_record(self.root, self.plan)
        self.partials.mkdir(exist_ok=True)
        self.model.mkdir(exist_ok=True)
        for shard in self._shards:
            create_sized(self.model / shard.name, shard.size_bytes, shard.header)
        for directory in (self.model, self.root, self.root.parent):
            sync_directory(directory)

    def _mark(self) -> None:
        """Make the directory ours, or go on with an earlier run's; files that it made and this one does not,
        and files that it left half written, are removed.
        """
        held = read_marker(self.root)
        if held is not None:
            found, planned = survey(self.root), {self.model / name for name in self.marker.files}
            for path in found.files:
                if is_unfinished(path) or (self.model in path.parents and path not in planned):
                    path.unlink()
            for directory in found.directories:
                if self.model in directory.parents:
                    with suppress(OSError):  # it holds planned files
                        directory.rmdir()
            self.marker = Marker(held.id, held.fingerprint, self.marker.files)
        if held != self.marker:
            write_marker(self.root, self.marker)

    def prove(self, *, complete: bool) -> None:
        """Hold the model under construction against the plan: the directory is ours still, every planned file
        is a plain one of its size with its header, and when it is `complete` nothing is missing or more.

        Raises RunError that lists what differs.
        """
        found = survey(self.root)
        wrong = [f"{name}: not of this merge" for name in found.foreign]
        marker = read_marker(self.root)
        if marker is None or marker.id != self.marker.id:
            wrong.append(f"{self.root}: not the directory that this merge works in")
        headers = {shard.name: shard for shard in self._shards}
        there = {
            path.relative_to(self.model).as_posix() for path in found.files if self.model in path.parents
        }
        for name in self.marker.files if complete else headers:
            if name not in there:
                wrong.append(f"{name}: missing")
            elif name in headers and (differs := _differs(self.model / name, headers[name])):
                wrong.append(f"{name}: {differs}")
        if complete:
            wrong += [f"{name}: not of this merge" for name in sorted(there - {*self.marker.files})]
        if wrong:
            raise RunError(
                "the model under construction is not what the plan says, so it is not published",
                where=str(self.model),
                expected="the planned files as they were merged",
                found=LIST_ITEM.join(wrong[:_MOST_SHOWN]),
                hint="bring the work directory back or take out what is not of this merge, and run the same "
                "command again; see who else writes there",
            )

    @property
    def _shards(self) -> Sequence[ShardLayout]:
        """The weight files that are written."""
        return () if self.plan.discard else self.plan.shards

    def save_partials(self, unit_id: str, data: Mapping[str, Any]) -> None:
        """Keep a measuring unit's result, then its receipt, so that a resumed run need not measure again."""
        content = canonical_json(data).encode()
        digest = digest_bytes(content)
        atomic_write(self.partials / f"{unit_id}.json", digest.encode() + b"\n" + content)
        self.ledger.append(unit_id, {"read_bytes": data["read_bytes"], "elapsed_s": data["elapsed_s"]})

    def load_partials(self, unit_id: str) -> dict[str, Any] | None:
        """What `save_partials` kept; None where it kept nothing, or where that was damaged since."""
        if unit_id not in self.ledger.done:
            return None
        path = self.partials / f"{unit_id}.json"
        try:
            raw = read_small(path, limit_bytes=_MOST_PARTIAL_BYTES, error=RunError, follow_links=False)
        except (FileNotFoundError, RunError):
            return None
        digest, _, content = raw.partition(b"\n")
        if digest_bytes(content).encode() != digest:
            return None
        held: dict[str, Any] = parse_json(content)
        return held

    def discard(self) -> None:
        """The model has been published: remove the work directory, then give the lock up."""
        self._is_left = True
        remove(survey(self.root), self.ledger)

    def give_up(self, *, hopeless: bool = False) -> None:
        """The user's input was wrong: leave no work directory that holds nothing finished, or none at all
        when what is finished is `hopeless`, so that a mended config is not told of it.
        """
        if not self._is_left and (hopeless or not self.ledger.done):
            self.discard()
        self._is_left = True
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, InputError):
            self.give_up()
        self.ledger.close()


def clear_leftovers(out: Path) -> None:
    """Remove a work directory that is not wanted any more; refused while another driver holds it.

    Raises OutputError when it is not ours, ClusterError naming the driver that works in it.
    """
    root = work_directory(out)
    check_ours(root)
    if root.exists():
        with Ledger.open(root / LEDGER_NAME, fingerprint=None) as ledger:
            found = check_ours(root)
            if not os.path.lexists(out) and root / REPLACED_NAME in found.directories:
                os.rename(root / REPLACED_NAME, out)  # a merge that was to replace it was killed
                found = check_ours(root)
            remove(found, ledger)


def _open_ledger(root: Path, fingerprint: str) -> Ledger:
    try:
        return Ledger.open(root / LEDGER_NAME, fingerprint)
    except DamagedLedger as error:
        raise OutputError(
            "the receipts of an interrupted merge are damaged",
            where=str(root / LEDGER_NAME),
            found=str(error.what),
            hint="give another output directory, or --fresh to start over",
        ) from error


def _differs(path: Path, shard: ShardLayout) -> str:
    """What of a staged weight file is not as planned; empty where nothing is."""
    with opened_own(path) as descriptor:
        size_bytes = os.fstat(descriptor).st_size
        if size_bytes != shard.size_bytes:
            return f"{size_bytes} bytes instead of {shard.size_bytes}"
        if os.pread(descriptor, len(shard.header), 0) != shard.header:
            return "another header"
    return ""


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
