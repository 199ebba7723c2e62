"""What is evaluated: a model directory, its digest, and what its manifest tells about how it was made.

The digest is the identity of a model in every cache. This module never loads weights into a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evals.content import Digests
from pipeline.errors import CheckpointError

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
_NO_PART = (".md", ".lock")
MANIFEST = "mergescale_manifest.json"


@dataclass(frozen=True)
class Model:
    """A model directory to evaluate.

    path: as the user gave it, made absolute.  digest: hex, of everything that may change a score.
    label: its short name in tables.  base, method: how it was merged, "" when it does not say.
    inputs: the absolute paths of the models it was merged from, () when it does not say.
    """

    path: str
    digest: str
    label: str
    base: str = ""
    method: str = ""
    inputs: tuple[str, ...] = ()

    @property
    def weights_bytes(self) -> int:
        """Bytes of the weight files: what loading it takes in memory, about."""
        files = Path(self.path).iterdir()
        return sum(file.stat().st_size for file in files if file.suffix in _WEIGHTS)


def describe_model(path: Path, digests: Digests) -> Model:
    """Look at a model directory. CheckpointError when it is not there or is no model."""
    place = path.resolve()
    if not place.is_dir():
        raise CheckpointError(
            "no such model directory",
            where=str(path),
            expected="a directory with config.json and weights",
            hint="give the directory of a model; download a hub model first",
        )
    files = sorted(file for file in place.iterdir() if file.is_file() and not file.name.startswith("."))
    names = [file.name for file in files]
    if "config.json" not in names or not any(file.suffix in _WEIGHTS for file in files):
        found = ", ".join(names[:8]) or "an empty directory"
        expected = "config.json and weights"
        raise CheckpointError("this is no model directory", where=str(path), expected=expected, found=found)
    parts = [file for file in files if file.suffix not in _NO_PART and file.name != MANIFEST]
    return Model(str(place), digests.of_files((file.name, file) for file in parts), place.name)
