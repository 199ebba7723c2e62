"""Write what lies beside the weights: index, companions and model card before any unit runs, so that none of
them can fail after the work; the manifest last of all. Then the model may be published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cluster.contract import Executor
from pipeline.checkpoint.companions import model_card, write_companions
from pipeline.checkpoint.files import atomic_write
from pipeline.checkpoint.layout import INDEX_NAME, index_json
from pipeline.checkpoint.manifest import (
    DISCARDED_NAME,
    MANIFEST_NAME,
    Manifest,
    OutputFile,
    make_manifest,
    model_digest,
    weights_digest,
    write_manifest,
)
from pipeline.checkpoint.nonfinite import NonFinite
from pipeline.config.load import to_dict
from pipeline.methods import load_method
from pipeline.plan.plan import UNIT_ID_LENGTH, MergePlan
from pipeline.staging import Staging

CARD_NAME = "README.md"
_LIBRARIES = ("mergescale", "torch", "numpy", "safetensors", "ray")


def write_beside(plan: MergePlan, directory: Path) -> None:
    """Write index, companions and model card into the directory of the model; whole copies are left alone.

    Raises CheckpointError for a companion that cannot be copied or is not the one that was planned.
    """
    if plan.discard:
        return
    if len(plan.shards) > 1:
        atomic_write(directory / INDEX_NAME, index_json(plan.shards))
    write_companions(plan.companions, directory)
    atomic_write(directory / CARD_NAME, _card(plan).encode())


def furnish(
    plan: MergePlan,
    staging: Staging,
    digests: Mapping[str, str],
    executor: Executor,
    elapsed_s: float,
    nonfinite: Sequence[NonFinite],
) -> Manifest:
    """Complete what lies beside the weights in the staging directory; returns the manifest, written last.

    `digests` maps each weight file to its xxh3_128; `elapsed_s` is the time of the run so far; `nonfinite`:
    what is NaN or infinite in the weights.
    """
    directory = staging.model
    write_beside(plan, directory)  # again: something may have been damaged since
    manifest = make_manifest(
        directory,
        weight_digests=dict(digests),
        nonfinite=nonfinite,
        **_facts(plan, staging, executor, elapsed_s),
    )
    write_manifest(directory, manifest)
    return manifest


def note_discarded(
    plan: MergePlan,
    staging: Staging,
    digests: Mapping[str, str],
    executor: Executor,
    elapsed_s: float,
    nonfinite: Sequence[NonFinite],
) -> Manifest:
    """The record of a merge whose weights were dropped: what `furnish` would note, and no model beside it.

    The digest of a file is that of the list of its pieces, each with its own, so it depends on the cut.
    """
    outputs = tuple(OutputFile(shard.name, shard.size_bytes, digests[shard.name]) for shard in plan.shards)
    facts = _facts(plan, staging, executor, elapsed_s)
    manifest = Manifest(
        version=facts["libraries"]["mergescale"],
        outputs=outputs,
        weights_digest=weights_digest(outputs),
        model_digest=model_digest(outputs),
        nonfinite=tuple(nonfinite),
        **{**facts, "inputs": tuple(facts["inputs"])},
    )
    write_manifest(staging.model, manifest, DISCARDED_NAME)
    return manifest


def planned_names(plan: MergePlan) -> tuple[str, ...]:
    """Every file of the finished model as a relative name, the manifest too; nothing else is published."""
    if plan.discard:
        return (DISCARDED_NAME,)
    index = (INDEX_NAME,) if len(plan.shards) > 1 else ()
    companions = (companion.name for companion in plan.companions)
    weights = (shard.name for shard in plan.shards)
    return tuple(sorted({*weights, *index, *companions, CARD_NAME, MANIFEST_NAME}))


def _card(plan: MergePlan) -> str:
    """The model card."""
    method = load_method(plan.config.merge_method)
    return model_card(
        method=f"`{method.name}`: {method.title} ({method.source})",
        base=None if plan.config.base_model is None else str(plan.config.base_model),
        experts=[str(index.ref) for index in plan.experts],
        config=to_dict(plan.config),
        version=version("mergescale"),
        hub_models=[index.ref.path for index in plan.indexes if index.commit and not index.ref.is_in_bucket],
    )


def _facts(plan: MergePlan, staging: Staging, executor: Executor, elapsed_s: float) -> dict[str, Any]:
    """All that is noted of a merge beside its files. Work of a run that was cut otherwise is left out."""
    units = {unit.id for unit in plan.units}
    return {
        "fingerprint": plan.fingerprint,
        "config": to_dict(plan.config),
        "inputs": [_input(plan, index) for index in range(len(plan.indexes))],
        "libraries": _libraries(),
        "timings": {
            "seconds": round(elapsed_s, 3),
            "executor": executor.name,
            "workers": executor.workers,
            "device": plan.device,
            "units": [
                {"id": unit_id, **_brief(receipt)}
                for unit_id, receipt in sorted(staging.ledger.done.items())
                if unit_id[:UNIT_ID_LENGTH] in units
            ],
        },
    }


def _input(plan: MergePlan, number: int) -> dict[str, Any]:
    index = plan.indexes[number]
    return {
        "ref": str(index.ref),
        "role": "base" if plan.base is not None and number == 0 else "expert",
        "directory": index.directory,
        "commit": index.commit,
        "files": [
            {
                "path": file.path,
                "size_bytes": file.size_bytes,
                "header_digest": file.header_digest,
                "mtime_ns": file.mtime_ns,
            }
            for file in index.files
        ],
    }


def _brief(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """A receipt without its digests, which are checked into the files' own, and without what is not finite,
    which the manifest says by tensor.
    """
    return {key: value for key, value in receipt.items() if key not in ("digests", "nonfinite")}


def _libraries() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
