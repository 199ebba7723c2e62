"""The grid of a study: which experts each seed picks, and every merge that is asked for. Pure.

A seed picks the same categories for every method, size and base, and for fewer experts the first of those it
picks for more: so that a column differs from its neighbour by nothing but what its head says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import xxhash

from evals.studies.bases import BaseMembers
from evals.studies.config import MethodConfig, StudyConfig
from evals.studies.methods import is_random, merge_config
from pipeline.errors import InputError


@dataclass(frozen=True)
class Cell:
    """One merge of the grid. experts: held-in categories in the suite's order.

    settings: the tuned parameters of this merge, sorted (name, value) pairs; () where nothing is tuned or
    chosen yet.  run: whose experts are merged.
    """

    base: str
    method: str
    count: int
    seed: int
    experts: tuple[str, ...]
    settings: tuple[tuple[str, Any], ...] = ()
    run: int = 0

    @property
    def label(self) -> str:
        """Its name in tables and records, of no other cell: "4m-weak/ties/4 experts/seed 1/run 2"."""
        run = f"/run {self.run}" if self.run else ""
        tuned = "".join(f"/{name}={value}" for name, value in self.settings)
        return f"{self.base}/{self.method}/{self.count} experts/seed {self.seed}{run}{tuned}"


def subsets(
    categories: Sequence[str], counts: Sequence[int], seeds: Sequence[int]
) -> dict[tuple[int, int], tuple[str, ...]]:
    """(count, seed) -> the categories that are merged, in the order of `categories`.

    A seed sorts the categories by a hash of it and their names: for machines of all kinds the same, and a
    category that is added or left out leaves the others' order alone.
    """
    found = {}
    for seed in seeds:
        drawn = sorted(categories, key=lambda name: xxhash.xxh3_128_hexdigest(f"{seed}/{name}".encode()))
        for count in counts:
            found[count, seed] = tuple(name for name in categories if name in drawn[:count])
    return found


def merges(config: StudyConfig) -> tuple[Cell, ...]:
    """Every merge of the study, tuned settings still open: bases, methods, counts, seeds, runs in the file's
    order.

    Where all experts are merged by a method without randomness, seeds could not differ: it stands there once,
    with the first. Runs always do: their experts are others.
    """
    picked = subsets(config.categories, config.counts, config.seeds)
    return tuple(
        Cell(base.name, method.name, count, seed, picked[count, seed], run=run)
        for base in config.bases
        for method in config.methods
        for count in config.counts
        for seed in (config.seeds if _differs(config, method, count) else config.seeds[:1])
        for run in base.runs
    )


def _differs(config: StudyConfig, method: MethodConfig, count: int) -> bool:
    """Whether seeds make different merges of so many experts."""
    return count < len(config.categories) or is_random(method.merge_method)


def tuning_cells(config: StudyConfig) -> tuple[Cell, ...]:
    """Every merge that is tried on validation rows: each combination of values, for each base and count.

    The experts are those that the tuning's seed picks out of those the base has in run 0; where it has fewer
    than a count, nothing is tried. () where nothing is tuned.
    """
    if config.tuning is None:
        return ()
    seed = config.tuning.seed
    found = []
    for base in config.bases:
        there = [name for name in config.categories if name in base.experts]
        counts = [count for count in config.counts if count <= len(there)]
        picked = subsets(there, counts, [seed])
        found += [
            with_settings(Cell(base.name, method.name, count, seed, picked[count, seed]), settings)
            for method in config.methods
            if method.tune
            for count in counts
            for settings in _combinations(method)
        ]
    return tuple(found)


def _combinations(method: MethodConfig) -> list[dict[str, Any]]:
    """All combinations of a method's tuned values, the last parameter changing fastest."""
    return [dict(zip(method.tune, values, strict=True)) for values in product(*method.tune.values())]


def with_settings(cell: Cell, settings: Mapping[str, Any]) -> Cell:
    """The same merge with these tuned parameters."""
    return replace(cell, settings=tuple(sorted(settings.items())))


def merge_config_dict(cell: Cell, base: BaseMembers, method: MethodConfig) -> dict[str, Any]:
    """The cell's merge config, for `pipeline.config.load.parse_config`. Experts stand in the cell's order.

    The experts are those of the cell's run. Tuned settings lie over the method's own parameters; a method
    that draws at random gets the cell's seed. InputError: the base has no expert of a category; the reason is
    the study's, one for all its merges.
    """
    base = base.in_run(cell.run)
    absent = [name for name in cell.experts if name not in base.experts]
    if absent:
        raise InputError(f"no {absent[0]} expert: {base.missing[absent[0]]}")
    experts = [base.experts[name] for name in cell.experts]
    parameters = {**method.parameters, **dict(cell.settings)}
    return merge_config(method.merge_method, base.model, experts, parameters, cell.seed)
