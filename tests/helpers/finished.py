"""Complete merged models for tests: weights, companions, card and manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.checkpoint.manifest import Manifest, make_manifest, write_manifest
from pipeline.checkpoint.nonfinite import NonFinite
from tests.helpers.models import write_model

INPUT = {
    "ref": "acme/base@main",
    "role": "base",
    "directory": "/models/base",
    "commit": "a" * 40,
    "files": [
        {"path": "/models/base/m.safetensors", "size_bytes": 7, "header_digest": "0" * 32, "mtime_ns": 1}
    ],
}
#: A tensor whose elements come from an input and from an overflow, and one of an overflow alone.
NONFINITE = (
    NonFinite("model.norm.weight", count=2, model="acme/base@main", overflowed=1, dtype="bfloat16"),
    NonFinite("lm_head.weight", count=4, model=None, overflowed=4, dtype="float16"),
)


def manifest_of(directory: Path, **changes: Any) -> Manifest:
    """The manifest of a finished directory."""
    facts: dict[str, Any] = {
        "fingerprint": "f" * 32,
        "config": {"merge_method": "linear"},
        "inputs": [INPUT],
        "libraries": {"mergescale": "1.2.3", "torch": "2"},
        "timings": {"seconds": 1.5, "units": []},
        "nonfinite": NONFINITE,
    }
    return make_manifest(directory, **{**facts, **changes})


def finish(directory: Path, **kw: Any) -> Path:
    """A complete model: weights, companions, card and manifest."""
    write_model(directory, tokenizer=True, **kw)
    (directory / "README.md").write_text("card")
    write_manifest(directory, manifest_of(directory))
    return directory
