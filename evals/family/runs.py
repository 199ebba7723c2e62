"""Runs of a family: its experts and multitask models, trained again with other seeds to measure luck.

Run 0 lies under OUT/experts/BASE, run R under OUT/runs/R/BASE. Bases have no runs. Trains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from evals.family.config import FamilyConfig
from evals.family.index import INDEX, read_index, runs_of
from pipeline.errors import InputError


def with_built_runs(config: FamilyConfig) -> FamilyConfig:
    """The config with the runs that the family's index lists and whose directories are there.

    A build that asks for fewer runs than an earlier one keeps them so.
    """
    try:
        index = read_index(config.out) if (config.out / INDEX).is_file() else None
    except InputError:
        index = None  # of another version: the index is built anew
    if index is None or index["name"] != config.name:
        return config
    entries: Mapping[str, Mapping[str, Any]] = {base["name"]: base for base in index["bases"]}
    built = {}
    for base in config.bases:
        listed = len(runs_of(entries[base.name])) if base.name in entries else 1
        there = (run for run in range(1, listed) if config.experts_dir(base, run).is_dir())
        built[base.name] = 1 + max(there, default=0)
    return replace(config, built=built)
