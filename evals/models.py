"""What is evaluated: a model directory, a merge that was never written, or a baseline; and its digest.

The digest is the identity of a model in every cache: the manifest's own where that still holds, the same
digest computed from the files everywhere else, and for a merge what its bytes depend on. This module never
loads weights.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from evals.content import Digests
from evals.record import BASELINE
from pipeline.checkpoint.choose import choose_weights
from pipeline.checkpoint.manifest import (
    MANIFEST_NAME,
    Manifest,
    OutputFile,
    model_digest,
    model_files,
    read_manifest,
)
from pipeline.checkpoint.plain_files import check_plain_files
from pipeline.errors import CheckpointError

if TYPE_CHECKING:
    from pipeline.checkpoint.companions import Companion
    from pipeline.plan.plan import MergePlan

#: Guessers, as `harness.baselines` has them.
BASELINES = ("majority", "copy")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Model:
    """A model directory to evaluate.

    path: absolute.  digest: hex, of everything that may change a score.  label: its short name in tables.
    base, method: how it was merged, "" when it does not say.  weights_bytes: size of its weight files.
    inputs: the absolute paths of the experts it was merged from, () when it does not say.
    merge: the merge that a worker computes in its memory; `path` is then its config.
    baseline: "majority" or "copy" for a guesser that needs no weights.
    affinity: models that share what a worker has loaded have the same.
    """

    path: str
    digest: str
    label: str
    weights_bytes: int
    base: str = ""
    method: str = ""
    inputs: tuple[str, ...] = ()
    merge: Merge | None = field(default=None, compare=False)
    baseline: str = ""

    @property
    def affinity(self) -> str:
        """What a worker must have loaded for this model: itself, or the group of merges it is one of."""
        if self.baseline:
            return BASELINE
        return self.merge.group if self.merge is not None else self.digest


@dataclass(frozen=True)
class Merge:
    """One merge of a group that is computed together, from one read of the experts.

    packed: the plans of the whole group, pickled once: every unit of every model of the group carries them,
    and few workers open them.  members: how many they are.  position: which of them this is.
    group: the group's name.  layout: digest of the names of its tensors, in order.
    companions: config and tokenizer files of this merge.
    """

    packed: bytes
    members: int
    position: int
    group: str
    layout: str
    companions: tuple[Companion, ...]

    @property
    def plans(self) -> tuple[MergePlan, ...]:
        """The plans of the whole group."""
        return cast("tuple[MergePlan, ...]", pickle.loads(self.packed))

    @property
    def plan(self) -> MergePlan:
        """This merge's own plan."""
        return self.plans[self.position]


def baseline_model(kind: str) -> Model:
    """The guesser of that kind, one of BASELINES, in the place of a model."""
    return Model(path=kind, digest=f"{BASELINE}{kind}", label=f"({kind})", weights_bytes=0, baseline=kind)


def describe_model(path: Path, digests: Digests) -> Model:
    """Look at a model directory. CheckpointError when it is not there or is no model."""
    place = path.resolve()
    if place.is_file():
        raise CheckpointError(
            "this file is no model",
            where=str(path),
            expected="a model's directory, or a merge config (.yaml, .yml or .json)",
            hint="give the directory that the file lies in, or name the config by its kind",
        )
    if not place.is_dir():
        raise CheckpointError(
            "no such model directory",
            where=str(path),
            expected="a directory with config.json and weights",
            hint="give the directory of a model",
        )
    check_plain_files(place)
    names = model_files(place)
    weights = [name for name in names if name.endswith(_WEIGHTS) and "/" not in name]
    if "config.json" not in names or not weights:
        found = ", ".join(names[:8]) or "an empty directory"
        raise CheckpointError(
            "this is no model directory", where=str(path), expected="config.json and weights", found=found
        )
    choose_weights([name for name in names if "/" not in name], str(path))  # refuses pickles, as a merge does
    weights = [name for name in weights if name.endswith(".safetensors")]
    manifest = read_manifest(place) if (place / MANIFEST_NAME).exists() else None
    if manifest is not None and _holds(manifest, place, names):
        digest = manifest.model_digest
    else:
        files = [(name, place / name) for name in names]
        outputs = [OutputFile(name, file.stat().st_size, digests.of_file(file)) for name, file in files]
        digest = model_digest(outputs)
    size = sum((place / name).stat().st_size for name in weights)
    if manifest is None:
        return Model(str(place), digest, place.name, size)
    bases = [model["directory"] for model in manifest.inputs if model["role"] == "base"]
    experts = [
        str(Path(model["directory"]).resolve()) for model in manifest.inputs if model["role"] != "base"
    ]
    method = str(manifest.config.get("merge_method", ""))
    return Model(str(place), digest, place.name, size, "".join(bases[:1]), method, tuple(experts))


def directories_of(models: Iterable[Model]) -> list[str]:
    """The model directories that scoring these models reads: their own, or those that a merge reads."""
    found: dict[str, None] = {}
    for model in models:
        if model.merge is not None:
            found |= dict.fromkeys(name for name in (model.base, *model.inputs) if name)
        elif not model.baseline:
            found[model.path] = None
    return list(found)


def _holds(manifest: Manifest, place: Path, names: list[str]) -> bool:
    """Whether the files are those the manifest lists, as far as names, sizes and times tell.

    The manifest is written last, so a file that changed or came later is not the one it lists: then the bytes
    decide. A file that is moved here keeps its time of writing, but not its change time (ctime). Clocks of
    file systems tick in milliseconds: what has the manifest's own time may be later than it.
    """
    written_ns = (place / MANIFEST_NAME).stat().st_mtime_ns
    listed = {file.name: file.size_bytes for file in manifest.outputs}
    stats = {name: (place / name).stat() for name in names}
    same = listed == {name: stat.st_size for name, stat in stats.items()}
    return same and all(max(stat.st_mtime_ns, stat.st_ctime_ns) < written_ns for stat in stats.values())
