"""Builds of a family in this process, which say what they ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.contract import Executor
from evals.family.build import build_family
from evals.family.config import FamilyConfig
from evals.family.members import Work
from tests.helpers.inline import InlineExecutor

TINY = Path(__file__).parents[2] / "configs" / "family" / "tiny.yaml"


class Starts:
    """Starts inline executors and remembers what they ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def __call__(self) -> Executor:
        """An executor whose list is this one's."""
        executor = InlineExecutor()
        executor.ran = self.ran
        return executor


def build(config: FamilyConfig) -> tuple[dict[str, Any], list[str]]:
    """(index, units that ran)."""
    starts = Starts()
    return build_family(config, Work(starts, lambda line: None)), starts.ran
