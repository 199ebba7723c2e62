"""Merge configs in the place of models: planned here, computed in the memory of the worker that scores them.

Merges over common experts form groups, so that a worker reads the experts once for all of them. This module
plans and groups; it never reads a weight but for its digest.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evals.content import Digests, digest_json
from evals.models import Merge, Model
from pipeline.checkpoint.companions import Companion
from pipeline.checkpoint.files import digest_bytes
from pipeline.config.load import parse_configs
from pipeline.config.merge import MergeConfig
from pipeline.config.text import read_documents
from pipeline.errors import ConfigError
from pipeline.plan.build import plan_merge
from pipeline.run import with_local_weights

SUFFIXES = (".yaml", ".yml", ".json")


def is_config(path: Path) -> bool:
    """Whether a model argument names a merge config: a YAML or JSON file."""
    return path.suffix in SUFFIXES and not path.is_dir()


def describe_merges(path: Path, digests: Digests) -> list[Model]:
    """The merges of a config, one a document, as models that no one has written.

    Raises whatever is wrong with the config or its models. Reads every input's weights once, for digests.
    """
    documents = read_documents(path)
    data = documents[0]
    if isinstance(data, dict) and "categories" in data and "merge_method" not in data:
        raise ConfigError(
            "this is a suite of tasks, not a merge config",
            where=str(path),
            hint="give it with --suite, and a model directory or a merge config as MODEL",
        )
    configs, place = parse_configs(documents, str(path)), path.resolve()
    if len(configs) == 1:
        return [plan_model(configs[0], path.stem, str(place), digests)]
    return [plan_model(config, config.name, str(place / config.name), digests) for config in configs]


def plan_model(config: MergeConfig, label: str, place: str, digests: Digests) -> Model:
    """The merge of a checked config as a model that no one has written; `place` is what records say of it.

    Its digest covers what a written merge would hold: the plan, its inputs' weights, the files beside them,
    not where they lie.
    Raises whatever is wrong with its models. Reads every input's weights once, for digests.
    """
    plan = with_local_weights(plan_merge(config))
    inputs = [[digests.of_file(Path(file.path)) for file in index.files] for index in plan.indexes]
    companions = plan.companions
    beside = [(one.name, _companion_digest(one, digests)) for one in companions]
    digest = digest_json(["merge", plan.fingerprint, inputs, beside])
    return Model(
        path=place,
        digest=digest,
        label=label,
        weights_bytes=sum(shard.size_bytes for shard in plan.shards),
        base="" if plan.base is None else plan.base.directory,
        method=plan.config.merge_method,
        inputs=tuple(str(Path(index.directory).resolve()) for index in plan.experts),
        merge=Merge(
            packed=pickle.dumps((plan,)),
            members=1,
            position=0,
            group=digest,
            layout=digest_json([tensor.spec.name for tensor in plan.tensors]),
            companions=companions,
        ),
    )


def _companion_digest(companion: Companion, digests: Digests) -> str:
    """Of the bytes that will lie beside the weights: prompts are cut into tokens by some of them."""
    if companion.source is None:
        return digest_bytes(companion.content)
    return digests.of_file(Path(companion.source))


def together(models: Sequence[Model], workers: int, memory_bytes: int) -> list[Model]:
    """The models in their order, merges over common experts in groups that a worker computes from one read.

    No fewer groups than `workers`, so that none is idle; none larger than `memory_bytes` of merged weights.
    """
    found = {model.digest: model for model in models}
    families = _families([model for model in models if model.merge is not None])
    for members in families:
        size_bytes = max(1, *(member.weights_bytes for member in members))
        groups = -(-workers // len(families))
        most = max(1, min(-(-len(members) // groups), memory_bytes // size_bytes))
        for start in range(0, len(members), most):
            found |= _grouped(members[start : start + most])
    return [found[model.digest] for model in models]


def _grouped(members: Sequence[Model]) -> Mapping[str, Model]:
    """Digest -> model, all of one group."""
    merges = [member.merge for member in members if member.merge is not None]
    name = digest_json(["group", *(member.digest for member in members)])
    packed = pickle.dumps(tuple(merge.plan for merge in merges))
    return {
        member.digest: replace(
            member, merge=replace(merge, packed=packed, members=len(merges), position=position, group=name)
        )
        for position, (member, merge) in enumerate(zip(members, merges, strict=True))
    }


def _families(merges: Sequence[Model]) -> list[list[Model]]:
    """Merges that read much the same: equal tensors, and of each two one's models among the other's."""
    families: list[list[Model]] = []
    for model in sorted(merges, key=lambda one: -len(_read(one))):
        for family in families:
            if _read(model) <= _read(family[0]) and _layout(model) == _layout(family[0]):
                family.append(model)
                break
        else:
            families.append([model])
    return families


def _read(model: Model) -> set[str]:
    """The models that a merge reads."""
    return {*model.inputs, model.base} - {""}


def _layout(model: Model) -> str:
    """A merge's tensors in order: running sums pass from one to the next."""
    return model.merge.layout if model.merge is not None else ""
