"""Directories that are made once: whole or not at all, kept while what decides them is the same."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.checkpoint.files import atomic_write
from pipeline.training.identity import RECORD, finished


def make_once(
    out: Path, identity: Mapping[str, Any], build: Callable[[Path], Mapping[str, Any]]
) -> dict[str, Any]:
    """The record of the directory `out`; `build` fills it (given an empty one beside it) if it is not there.

    The record holds the identity, what `build` returned and the versions. OutputError: `out` holds something
    of another identity.
    """
    done = finished(out, identity)
    if done is not None:
        return done
    beside = out.with_name(f".{out.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    beside.mkdir(parents=True)
    try:
        record = {**identity, **build(beside), "versions": _versions()}
        atomic_write(beside / RECORD, json.dumps(record, indent=1).encode())
        try:
            os.rename(beside, out)
        except OSError:  # another attempt was first: its record counts
            other = finished(out, identity)
            if other is None:
                raise
            return other
        return record
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("mergescale", "tokenizers", "torch", "transformers")}
