"""The grid of a study: which experts each seed picks, and every merge that is asked for. Pure.

A seed picks the same categories for every method, size and base, and for fewer experts the first of those it
picks for more: so that a column differs from its neighbour by nothing but what its head says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One merge of the grid. experts: held-in categories in the suite's order.

    settings: the tuned parameters of this merge, sorted (name, value) pairs; () where nothing is tuned or
    chosen yet.
    """

    base: str
    method: str
    count: int
    seed: int
    experts: tuple[str, ...]
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """Its name in tables and records, of no other cell: "4m-weak/ties/4 experts/seed 1"."""
        tuned = "".join(f"/{name}={value}" for name, value in self.settings)
        return f"{self.base}/{self.method}/{self.count} experts/seed {self.seed}{tuned}"
