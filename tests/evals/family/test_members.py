"""The experts of a family: those of all bases are one crowd, and each that fails is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from cluster.contract import Fault, Outcome, Unit
from evals.family.config import load_family
from evals.family.members import Work, make_experts
from evals.family.rows import FamilyData
from tests.helpers.inline import InlineExecutor
from tests.helpers.training import write_home


class Refusing(InlineExecutor):
    """Remembers what each run was given, and fails all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[list[str]] = []

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        """One fault a unit."""
        given = list(units)
        self.runs.append([unit.id for unit in given])
        for unit in given:
            yield Outcome(unit.id, None, Fault("program", f"no {unit.id}"), 1, 0.0, "here")


def test_experts_of_all_bases_are_trained_in_one_run(tmp_path: Path) -> None:
    """One run gets every expert of every base, those of the largest base first, with names of their own; what
    fails is told for each expert of each base.
    """
    small, large = write_home(tmp_path / "small"), write_home(tmp_path / "large", hidden=64)
    content = {
        "name": "two",
        "out": str(tmp_path / "out"),
        "suites": {"held-in": "none.yaml"},
        "bases": [
            {"name": home.name, "size": home.name, "quality": "given", "model": str(home / "base")}
            for home in (small, large)
        ],
        "experts": {"settings": {"limit": 8}},
    }
    (tmp_path / "family.yaml").write_text(yaml.safe_dump(content))
    config = load_family(tmp_path / "family.yaml")
    rows = small / "train.jsonl"
    data = FamilyData({"colour": rows, "multitask": rows}, {})
    executor = Refusing()
    places = {"small": small / "base", "large": large / "base"}
    failed = make_experts(config, places, data, Work(lambda: executor, lambda line: None))
    labels = ["large/multitask", "large/colour", "small/multitask", "small/colour"]
    assert executor.runs == [[f"train/{label}" for label in labels]]
    assert failed == {label: f"no train/{label}" for label in labels}
