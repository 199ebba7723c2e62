"""How far a merge is, read from what lies on the disk. It changes nothing and needs no lock."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from cluster.ledger import is_held, read_ledger
from pipeline.checkpoint.manifest import MANIFEST_NAME, read_manifest, record_name
from pipeline.checkpoint.nonfinite import NonFinite, in_lines
from pipeline.errors import InputError
from pipeline.output import absolute
from pipeline.plan_record import read_plan_record
from pipeline.receipts import is_sound
from pipeline.work_directory import LEDGER_NAME, work_directory

_CENTURY_S = 3.2e9


def merge_status(out: Path) -> dict[str, Any]:
    """State of the merge into `out` as plain data: "complete" (perhaps "complete, weights discarded"),
    "running", "interrupted" or "absent".

    Raises InputError when something that is not ours lies there.
    """
    work = work_directory(absolute(out))
    plan = read_plan_record(work)
    name = record_name(out)
    manifest = read_manifest(out, name) if name is not None else None
    if plan is not None and (manifest is None or manifest.fingerprint != plan.fingerprint):
        receipts = read_ledger(work / LEDGER_NAME)
        merged = [
            receipts[unit_id]
            for unit_id in plan.unit_ids
            if unit_id in receipts and is_sound(unit_id, receipts[unit_id])
        ]
        return {
            "state": "running" if is_held(work / LEDGER_NAME) else "interrupted",
            "out": str(out),
            "work_directory": str(work),
            "method": plan.method,
            "fingerprint": plan.fingerprint,
            "units_done": len(merged),
            "units": plan.units,
            "written_bytes": sum(receipt["write_bytes"] for receipt in merged),
            "write_bytes": plan.write_bytes,
            "nonfinite_so_far": dict(sum((Counter(r.get("nonfinite", {})) for r in merged), Counter[str]())),
        }
    if manifest is not None:
        return {
            "state": "complete" if name == MANIFEST_NAME else "complete, weights discarded",
            "out": str(out),
            "method": str(manifest.config.get("merge_method", "a merge")),
            "fingerprint": manifest.fingerprint,
            "model_digest": manifest.model_digest,
            "seconds": _seconds(manifest.timings),
            "nonfinite": None if manifest.nonfinite is None else [vars(one) for one in manifest.nonfinite],
        }
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            "this is not the output of a merge",
            where=str(out),
            expected=MANIFEST_NAME,
            found="other files",
            hint="give the OUT of a `mergescale merge`",
        )
    return {"state": "absent", "out": str(out)}


def _seconds(timings: dict[str, Any]) -> float:
    """How long a merge took; 0 where its manifest does not tell."""
    found = timings.get("seconds")
    return found if isinstance(found, int | float) and abs(found) < _CENTURY_S else 0.0


def describe(status: dict[str, Any]) -> str:
    """The same in words."""
    lines = [f"{status['out']}: {status['state']}"]
    if "units" in status:
        share = status["units_done"] / max(1, status["units"])
        lines += [
            f"  {status['method']}, {status['units_done']} of {status['units']} units ({share:.0%}), "
            f"{status['written_bytes'] / 1e9:.2f} of {status['write_bytes'] / 1e9:.2f} GB merged",
        ]
        if status["nonfinite_so_far"]:
            counts = status["nonfinite_so_far"].values()
            lines.append(f"  so far {sum(counts)} elements of {len(counts)} tensors are NaN or infinite")
        if status["state"] == "interrupted":
            lines.append("  the same `mergescale merge` command continues it")
    elif "seconds" in status:
        lines += [f"  {status['method']} in {status['seconds']:.1f} s, digest {status['model_digest']}"]
        lines += [f"  {line}" for line in in_lines([NonFinite(**one) for one in status["nonfinite"] or ()])]
    return "\n".join(lines)
