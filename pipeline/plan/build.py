"""Config + headers -> MergePlan. Deterministic; reads headers through `checkpoint.index`, and of tensors only
the bytes of those that must be equal (see `align.py`).

Every mistake the user can make is found here, before any work starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.checkpoint.companions import Companion, companion_notes, plan_companions
from pipeline.checkpoint.index import CheckpointIndex
from pipeline.checkpoint.layout import ShardLayout, lay_out, natural_key
from pipeline.checkpoint.locate import read_index
from pipeline.config.load import fingerprint, to_dict
from pipeline.config.merge import MergeConfig, experts_of
from pipeline.errors import CheckpointError
from pipeline.meaning.compare import check_types, compare_meaning
from pipeline.methods import load_method
from pipeline.methods.contract import Method
from pipeline.plan.align import Aligned, align, promote
from pipeline.plan.layers import count_layers, layer_position
from pipeline.plan.plan import Cost, Limits, MergePlan, Source, TensorPlan
from pipeline.plan.recordable import check_recordable
from pipeline.plan.rules import settings_for, unmatched_filters
from pipeline.plan.units import Draft, cut_work
from pipeline.values import DTYPES, DTYPES_BY_NAME, DType, ModelRef, TensorSpec

#: Raised when the arithmetic or the file form changes, so that an interrupted run of an older version is not
#: continued.
PLAN_VERSION = 2
DEFAULT_SHARD_BYTES = 5_000_000_000
DEFAULT_LIMITS = Limits(memory_bytes=2 << 30)


def plan_merge(
    config: MergeConfig,
    *,
    device: str = "cpu",
    limits: Limits = DEFAULT_LIMITS,
    shard_size_bytes: int = DEFAULT_SHARD_BYTES,
) -> MergePlan:
    """Plan a merge from headers alone: `plan_merges` of one config."""
    return plan_merges([config], device=device, limits=limits, shard_size_bytes=shard_size_bytes)[0]


def plan_merges(
    configs: Sequence[MergeConfig],
    *,
    device: str = "cpu",
    limits: Limits = DEFAULT_LIMITS,
    shard_size_bytes: int = DEFAULT_SHARD_BYTES,
) -> tuple[MergePlan, ...]:
    """Plan merges that share one pass over their inputs, from headers alone.

    `device` is "cpu" or "cuda". Raises ConfigError for what a config gets wrong and CheckpointError for
    models that do not fit together, naming model, tensor and file.
    """
    uncut = []
    for config in configs:
        try:
            uncut.append(_plan_uncut(config, device, limits, shard_size_bytes))
        except CheckpointError as error:
            if len(configs) > 1 and config.name:  # the file alone does not tell which of its merges is meant
                error.where = f'merge "{config.name}", {error.where}'
            raise
    drafts = [Draft(plan.tensors, load_method(plan.config.merge_method)) for plan in uncut]
    cuts = cut_work(drafts, limits, device)
    return tuple(
        replace(plan, groups=found.groups, units=found.units, cost=found.cost)
        for plan, found in zip(uncut, cuts, strict=True)
    )


def _plan_uncut(config: MergeConfig, device: str, limits: Limits, shard_size_bytes: int) -> MergePlan:
    """Everything about one merge but how its work is cut and what it costs."""
    method = load_method(config.merge_method, config.source)
    experts, base, companion = _read_indexes(config, method)
    compared = (companion, *(index for index in experts if index is not companion))
    if not config.allow_mixed:
        check_types(compared)
    models = experts if base is None else (base, *experts)
    aligned = align(models, companion, random=method.knob("seed") is not None)
    tensors, shards = _place(aligned.rows, config, method, companion, base is not None, shard_size_bytes)
    names = [tensor.spec.name for tensor in tensors]
    companions = plan_companions(companion, out_dtype=_stored_dtype(tensors))
    check_recordable(config, (companion, *experts))
    identity = {
        **_identity(config, method, experts, base, companion, companions, device, shard_size_bytes),
        "tensors": aligned.decisions(),
    }
    return MergePlan(
        config=config,
        fingerprint=fingerprint(identity),
        device=device,
        limits=limits,
        experts=experts,
        base=base,
        companion=companion,
        tensors=tensors,
        shards=shards,
        groups=(),
        units=(),
        cost=Cost(0, 0, 0, 0.0),
        notes=(
            *config.notes,
            *_no_config(companion),
            *companion_notes(companion),
            *unmatched_filters(config, names),
            *aligned.notes,
            *compare_meaning(compared),
        ),
        companions=companions,
    )


def discarding(plan: MergePlan) -> MergePlan:
    """The same plan for a trial: all is read, merged and digested, no weights are written.

    It has a fingerprint of its own, so that neither run is ever taken for the other.
    """
    write_bytes = sum(unit.write_bytes for unit in plan.units)
    spared_s = write_bytes / plan.limits.disk_bytes_per_s / plan.limits.workers
    return replace(
        plan,
        discard=True,
        fingerprint=fingerprint(["discarded", plan.fingerprint]),
        cost=replace(plan.cost, seconds=plan.cost.seconds - spared_s),
    )


def _read_indexes(
    config: MergeConfig, method: Method
) -> tuple[tuple[CheckpointIndex, ...], CheckpointIndex | None, CheckpointIndex]:
    """Headers of every expert, of the base where it takes part, and of the model that gives config and
    tokenizer.
    """
    beside = Path(config.source).parent
    cache: dict[ModelRef, CheckpointIndex] = {}

    def index(ref: ModelRef) -> CheckpointIndex:
        if ref not in cache:
            cache[ref] = read_index(ref, beside=beside)
        return cache[ref]

    entries = experts_of(config, method)
    base = index(config.base_model) if config.base_model is not None else None
    experts = tuple(index(entry.model) for entry in entries)
    companion = base if base is not None else experts[0]
    takes_part = base is not None and method.traits.base != "ignored"
    return experts, base if takes_part else None, companion


def _place(
    aligned: Sequence[Aligned],
    config: MergeConfig,
    method: Method,
    companion: CheckpointIndex,
    has_base: bool,
    shard_size_bytes: int,
) -> tuple[tuple[TensorPlan, ...], tuple[ShardLayout, ...]]:
    """Output tensors in natural order of their names, each with its knobs and its place in a file."""
    rows = sorted(aligned, key=lambda row: natural_key(row.name))
    specs = [TensorSpec(row.name, _out_dtype(row, config), row.shape) for row in rows]
    shards = lay_out(specs, shard_size_bytes)
    home = {name: shard for shard in shards for name in shard.offsets}
    layers = count_layers((row.name for row in rows), companion.config)
    tensors = []
    for row, spec in zip(rows, specs, strict=True):
        sources = tuple(Source(entry.file, entry.start_byte, entry.spec.dtype) for entry in row.entries)
        merged = row.entries[0].spec.dtype.is_float
        position = layer_position(row.name, layers)
        tensors.append(
            TensorPlan(
                spec=spec,
                action="merge" if merged else "copy",
                sources=sources[1:] if has_base else sources,
                base=sources[0] if has_base else None,
                compute=_compute_dtype(row, config),
                knobs=settings_for(config, method, row.name, position) if merged else {},
                file=home[row.name].name,
                start_byte=home[row.name].offsets[row.name],
                draws_as=row.draws_as,
            )
        )
    for tensor in tensors:
        if tensor.action == "merge":
            method.check(tensor.knobs, tensor.spec.name)
    return _one_compute(tensors, method), shards


def _out_dtype(row: Aligned, config: MergeConfig) -> DType:
    """out_dtype, else dtype, else what the inputs promote to; tensors that are not floats keep their type."""
    stored = [entry.spec.dtype for entry in row.entries]
    if not stored[0].is_float:
        return stored[0]
    wanted = config.out_dtype or config.dtype
    return DTYPES_BY_NAME[wanted] if wanted else promote(stored)


def _compute_dtype(row: Aligned, config: MergeConfig) -> DType:
    """The config's dtype; otherwise fp32, or fp64 where an input is fp64."""
    if config.dtype:
        return DTYPES_BY_NAME[config.dtype]
    return DTYPES["F64"] if any(entry.spec.dtype.code == "F64" for entry in row.entries) else DTYPES["F32"]


def _one_compute(tensors: Sequence[TensorPlan], method: Method) -> tuple[TensorPlan, ...]:
    """Tensors that are measured together are computed in one type: fp64 for all where one of them is fp64."""
    together = [
        tensor for tensor in tensors if tensor.action == "merge" and method.scope(tensor.knobs) == "model"
    ]
    if len({tensor.compute for tensor in together}) <= 1:
        return tuple(tensors)
    return tuple(
        replace(tensor, compute=DTYPES["F64"]) if tensor.action == "merge" else tensor for tensor in tensors
    )


def _stored_dtype(tensors: Sequence[TensorPlan]) -> str | None:
    """torch's name of the type that most of the output's floats have, for config.json to state."""
    size_bytes: dict[str, int] = {}
    for tensor in tensors:
        if tensor.action == "merge":
            name = tensor.spec.dtype.name
            size_bytes[name] = size_bytes.get(name, 0) + tensor.spec.size_bytes
    return max(size_bytes, key=lambda name: size_bytes[name]) if size_bytes else None


def _no_config(companion: CheckpointIndex) -> tuple[str, ...]:
    """A note where the output will have no config.json, so that most libraries cannot load it."""
    if companion.config:
        return ()
    return (f'"{companion.ref}" has no config.json, so the merged model will have none either',)


def _identity(
    config: MergeConfig,
    method: Method,
    experts: Sequence[CheckpointIndex],
    base: CheckpointIndex | None,
    companion: CheckpointIndex,
    companions: Sequence[Companion],
    device: str,
    shard_size_bytes: int,
) -> dict[str, Any]:
    """All that the output bytes depend on, and nothing that they do not (no paths of files, no workers, no
    memory).
    """

    def model(index: CheckpointIndex) -> list[Any]:
        return [str(index.ref), index.commit, [[file.size_bytes, file.header_digest] for file in index.files]]

    return {
        "version": PLAN_VERSION,
        "config": to_dict(config),
        "method": method.name,
        "experts": [model(index) for index in experts],
        "base": None if base is None else model(base),
        "companion": [str(companion.ref), companion.config, [[one.name, one.digest] for one in companions]],
        "device": device,
        "shard_size_bytes": shard_size_bytes,
    }
