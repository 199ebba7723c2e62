"""The work directory of a running merge: beside the output, never looking like a model, resumable, fenced by
fingerprint.

    OUT.mergescale/
    ├── plan.json               what is being built, from what (headers, sizes, times of change)
    ├── receipts.jsonl          the ledger: one line a finished unit
    ├── partials/               measures of finished measuring units
    └── model-<fingerprint>/    the model under construction, pre-sized; renamed to OUT at the very end

It decides what may be resumed, refused or started over; it computes nothing.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.ledger import Ledger
from pipeline.checkpoint.files import atomic_write, create_sized
from pipeline.checkpoint.manifest import MANIFEST_NAME, InputFile, Manifest, read_manifest
from pipeline.config.load import canonical_json
from pipeline.errors import OutputError, RunError
from pipeline.plan.plan import MergePlan

_START_OVER = "give another output directory, or --fresh to start over"


def work_directory(out: Path) -> Path:
    """Where a merge into `out` keeps its unfinished work."""
    return out.with_name(out.name + ".mergescale")


def finished(plan: MergePlan, out: Path, fresh: bool) -> Manifest | None:
    """The manifest of `out` when it already holds this very merge; None when there is work to do.

    Raises OutputError when `out` holds anything else: another merge (unless `fresh`), or files that are not
    ours.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / MANIFEST_NAME).is_file():
        raise OutputError(
            "the output path is taken by something that mergescale did not make",
            where=str(out),
            expected="a directory that does not exist yet, is empty, or holds an earlier merge",
            found="a file"
            if out.is_file()
            else f"{sum(1 for _ in out.iterdir())} entries and no {MANIFEST_NAME}",
            hint="give another output directory",
        )
    if fresh:
        return None
    manifest = read_manifest(out)
    if manifest.fingerprint != plan.fingerprint:
        raise OutputError(
            "the output directory holds the result of another merge",
            where=str(out),
            expected=f"plan {plan.fingerprint[:12]}",
            found=f"plan {manifest.fingerprint[:12]}",
            hint=_START_OVER,
        )
    _same_inputs(plan, [record for model in manifest.inputs for record in model["files"]], out)
    return manifest


def check_output(plan: MergePlan, out: Path, fresh: bool) -> Manifest | None:
    """What `finished` returns; raises OutputError for whatever would keep the merge from being begun or
    continued.
    """
    done = finished(plan, out, fresh)
    if done is None:
        if not fresh:
            _refuse_other_plan(plan, work_directory(out))
        _enough_room(plan, out)
    return done


class Staging:
    """An open work directory, held by one driver at a time through its ledger's lock."""

    def __init__(self, plan: MergePlan, out: Path, fresh: bool) -> None:
        self.plan, self.out, self.root = plan, out, work_directory(out)
        self.model = _model_directory(plan, out)
        self.partials = self.root / "partials"
        if fresh:
            clear_leftovers(out)
        check_output(plan, out, fresh)
        self.root.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger.open(self.root / "receipts.jsonl", plan.fingerprint)
        try:
            self._prepare()
        except BaseException:
            self.ledger.close()
            raise

    def _prepare(self) -> None:
        """Plan file first, then pre-sized output files; both are left alone when they are there already."""
        self.partials.mkdir(exist_ok=True)
        self.model.mkdir(exist_ok=True)
        described = {**self.plan.summary(), "input_files": input_records(self.plan)}
        atomic_write(self.root / "plan.json", json.dumps(described, indent=1).encode())
        for shard in self.plan.shards:
            path = self.model / shard.name
            if not path.exists() or path.stat().st_size != shard.size_bytes:
                create_sized(path, shard.size_bytes, shard.header)

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
        """The model has been published: give the lock and the work directory up."""
        self.ledger.close()
        shutil.rmtree(self.root)


def clear_leftovers(out: Path) -> None:
    """Remove a work directory that is not wanted any more; refused while another driver holds it."""
    root = work_directory(out)
    if root.exists():
        Ledger.open(root / "receipts.jsonl", fingerprint=None).close()
        shutil.rmtree(root)


def input_records(plan: MergePlan) -> list[InputFile]:
    """Path, size and time of change of every input file."""
    return [
        {
            "path": file.path,
            "size_bytes": file.size_bytes,
            "header_digest": file.header_digest,
            "mtime_ns": file.mtime_ns,
        }
        for index in plan.indexes
        for file in index.files
    ]


def _same_inputs(plan: MergePlan, held: Sequence[InputFile], where: Path) -> None:
    """Files that changed since they were first read would give half of one model and half of another."""
    before = {record["path"]: (record["size_bytes"], record["mtime_ns"]) for record in held}
    for record in input_records(plan):
        now = (record["size_bytes"], record["mtime_ns"])
        unfetched = record["mtime_ns"] == 0
        if not unfetched and before.get(record["path"], now) != now:
            raise OutputError(
                "an input file has changed since this merge was begun",
                where=record["path"],
                expected="the size and time of change noted in " + str(where),
                found="a file changed since",
                hint="--fresh starts over with the new inputs",
            )


def explain(error: OSError, where: str) -> RunError:
    """A storage failure in words: what cannot be done, where, and how to go on."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return RunError(
        "the disk is full" if full else f"the storage failed: {error.strerror or error}",
        where=str(error.filename or where),
        hint=("free some space" if full else "mend the storage")
        + " and run the same command again: finished work is kept",
    )


def _refuse_other_plan(plan: MergePlan, root: Path) -> None:
    """Another plan's interrupted run, or this plan's on files that changed since, is not continued."""
    path = root / "plan.json"
    if not path.exists():
        return
    held = json.loads(path.read_bytes())
    if held["fingerprint"] != plan.fingerprint:
        raise OutputError(
            "an interrupted merge of another plan is waiting here",
            where=str(root),
            expected=f"plan {plan.fingerprint[:12]} ({plan.config.merge_method})",
            found=f"plan {held['fingerprint'][:12]} ({held['method']})",
            hint=_START_OVER,
        )
    _same_inputs(plan, held["input_files"], root)


def _enough_room(plan: MergePlan, out: Path) -> None:
    """The output must fit on its disk, less what an earlier attempt has already taken there."""
    parent = next(path for path in out.absolute().parents if path.exists())
    held = _model_directory(plan, out)
    taken = sum(path.stat().st_size for path in held.glob("*.safetensors")) if held.exists() else 0
    needed = sum(shard.size_bytes for shard in plan.shards) - taken
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise OutputError(
            "the merged model does not fit on the disk",
            where=str(parent),
            expected=f"{needed / 1e9:.2f} GB free",
            found=f"{free / 1e9:.2f} GB free",
            hint="give an output directory on a larger disk",
        )


def _model_directory(plan: MergePlan, out: Path) -> Path:
    """Where the model under construction lies; its name carries the plan, so that no other plan writes into
    it.
    """
    return work_directory(out) / f"model-{plan.fingerprint[:12]}"
