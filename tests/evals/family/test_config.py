"""Family configs: read strictly, errors that say where; those we ship load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from evals.family.config import load_family
from evals.suites import load_suite
from pipeline.errors import ConfigError, InputError

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "configs" / "family").glob("*.yaml"))
BASE = {"name": "a", "size": "1M", "quality": "weak", "model": "models/a"}
GOOD: dict[str, Any] = {
    "name": "f",
    "out": "out",
    "suites": {"held-in": "in.yaml"},
    "bases": [BASE],
    "experts": {"settings": {"learning_rate": 1e-3}},
}


def write(path: Path, **changes: Any) -> Path:
    """A config with top keys replaced."""
    path.write_text(yaml.safe_dump(GOOD | changes))
    return path


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"basis": []}, "basis"),
        ({"bases": []}, "bases"),
        ({"bases": [BASE, BASE]}, "bases[1].name"),
        ({"bases": [BASE | {"package": "smollm2"}]}, "bases[0]"),
        ({"bases": [{"name": "a", "size": "1M", "quality": "weak"}]}, "bases[0]"),
        ({"bases": [{"name": "a", "size": "1M", "quality": "weak", "package": "gpt"}]}, "bases[0].package"),
        ({"bases": [BASE | {"name": "a/b"}]}, "bases[0].name"),
        ({"bases": [BASE | {"name": "tokens"}]}, "bases[0].name"),
        ({"bases": [{"name": "a", "size": "1M", "quality": "w", "scratch": {}}]}, "bases[0].scratch"),
        ({"suites": {"held-out": "x"}}, "suites.held-in"),
        ({"experts": {"settings": {"learning_rat": 1}}}, "experts.settings.learning_rat"),
        ({"experts": {"by_size": {"4M": {}}}}, "experts.by_size.4M"),
        ({"experts": {"by_size": {"1M": {"epochs": 0}}}}, "experts.by_size.1M.epochs"),
        ({"experts": {"by_size": {"1M": {"multitask": {"steps": 9}}}}}, "experts.by_size.1M.multitask.steps"),
        ({"scratch": {"vocab": "many"}}, "scratch.vocab"),
        ({"validation": 0}, "validation"),
        ({"limit": True}, "limit"),
        ({"full": "yes"}, "full"),
        ({"repeat": 0}, "repeat"),
        ({"repeat": "twice"}, "repeat"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, Any], where: str) -> None:
    """A wrong, missing or contradictory key is a ConfigError with the path in the file."""
    path = write(tmp_path / "family.yaml", **changes)
    with pytest.raises(ConfigError) as error:
        load_family(path)
    assert error.value.where == f"{path}: {where}"


def test_settings_of_a_size_lie_over_the_common_ones(tmp_path: Path) -> None:
    """A size's settings replace the common ones, those of the multitask model both, those of its size all."""
    experts = {
        "settings": {"learning_rate": 0.1, "epochs": 1, "limit": 5},
        "by_size": {"1M": {"learning_rate": 0.2, "epochs": 2, "multitask": {"limit": 7}}},
        "multitask": {"learning_rate": 0.3},
    }
    bases = [BASE, BASE | {"name": "b", "size": "4M"}]
    found = load_family(write(tmp_path / "family.yaml", bases=bases, experts=experts)).experts
    assert found.of("1M") == {"learning_rate": 0.2, "epochs": 2, "limit": 5}
    assert found.of("1M", multitask=True) == {"learning_rate": 0.3, "epochs": 2, "limit": 7}
    assert found.of("4M") == experts["settings"]
    assert found.of("4M", multitask=True) == {"learning_rate": 0.3, "epochs": 1, "limit": 5}


def test_runs_differ_in_the_seed_alone(tmp_path: Path) -> None:
    """Run R of an expert has the settings of run 0 and the R-th seed after its own, of its size's or of the
    multitask model's; it lies where no expert of any category can lie.
    """
    experts = {"settings": {"epochs": 2}, "multitask": {"seed": 7}, "by_size": {"1M": {"seed": 2**32 - 1}}}
    family = load_family(write(tmp_path / "family.yaml", experts=experts, repeat=3))
    (base,) = family.bases
    assert family.runs(base) == range(3) and family.repeated(1).runs(base) == range(1)
    assert family.experts.of("4M") == {"epochs": 2}
    assert family.experts.of("4M", run=2) == {"epochs": 2, "seed": 2}
    assert family.experts.of("4M", multitask=True, run=2) == {"epochs": 2, "seed": 9}
    assert family.experts.of("1M", run=1) == {"epochs": 2, "seed": 0}, "seeds end below 2**32"
    places = [str(family.expert_dir(base, "colour", run)) for run in family.runs(base)]
    assert places == ["out/experts/a/colour", "out/runs/1/a/colour", "out/runs/2/a/colour"]


def test_sizes_can_be_chosen(tmp_path: Path) -> None:
    """A family of some sizes has their bases only; a size that no base has is named with the near one."""
    bases = [BASE, BASE | {"name": "b", "size": "4M"}]
    family = load_family(write(tmp_path / "family.yaml", bases=bases))
    assert [base.name for base in family.of_sizes(["4M"]).bases] == ["b"]
    with pytest.raises(InputError, match='no base of size "4m"') as error:
        family.of_sizes(["4m"])
    assert error.value.hint


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_families_load(path: Path) -> None:
    """Every family config that we ship loads and opens with what it costs; its suites are there."""
    family = load_family(path)
    assert family.bases
    assert "Cost" in path.read_text().split("name:")[0]
    for suite in (family.held_in, family.held_out):
        if suite is not None and suite.parent != Path():
            load_suite(ROOT / suite)
