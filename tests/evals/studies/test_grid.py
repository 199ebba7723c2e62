"""The grid: which experts a seed picks, which merges there are, and that each is a merge config."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from evals.studies.config import StudyConfig, load_study
from evals.studies.grid import Cell, merge_config_dict, merges, subsets, tuning_cells, with_settings
from pipeline.config.load import parse_config
from pipeline.errors import InputError
from tests.helpers.study_files import CATEGORIES, base, write_study, write_suites

TIES = {"merge_method": "ties", "tune": {"lambda": [0.5, 1.0], "density": [0.1, 0.2]}}
SEEDS = range(400)
#: The pairs that seeds 0 to 3 pick of CATEGORIES.
PICKED = [("size", "taste"), ("colour", "shape"), ("size", "taste"), ("colour", "taste")]
NAMES = [tuple(f"c{number}" for number in range(length)) for length in (1, 2, 5, 8)]


def load(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> StudyConfig:
    """A small study, some keys replaced."""
    monkeypatch.chdir(folder)
    write_suites(folder)
    return load_study(write_study(folder, **changes))


@pytest.mark.parametrize("names", NAMES, ids=len)
def test_subsets_are_nested_and_in_order(names: tuple[str, ...]) -> None:
    """A seed's subsets have their size, keep the categories' order, and each holds every smaller one."""
    counts = range(1, len(names) + 1)
    picked = subsets(names, counts, SEEDS)
    assert len(picked) == len(counts) * len(SEEDS)
    for (count, seed), subset in picked.items():
        assert len(subset) == count
        assert subset == tuple(name for name in names if name in subset)
        assert count == 1 or set(picked[count - 1, seed]) < set(subset)


@pytest.mark.parametrize("names", NAMES, ids=len)
def test_a_seed_picks_the_same_beside_any_other(names: tuple[str, ...]) -> None:
    """What a seed picks depends on no other seed, no other count and not on the categories' order."""
    whole = subsets(names, range(1, len(names) + 1), SEEDS)
    backwards = subsets(names[::-1], [len(names), 1], list(SEEDS)[::-1])
    for (count, seed), subset in backwards.items():
        assert set(subset) == set(whole[count, seed])


def test_subsets_are_the_same_on_every_machine_and_for_ever() -> None:
    """The draw is written down here: another one would silently change every study."""
    picked = subsets(CATEGORIES, [2], range(4))
    assert [picked[2, seed] for seed in range(4)] == PICKED


def test_draws_are_spread_over_all_subsets() -> None:
    """Over many seeds every pair of five is drawn about as often as chance would: 400/10, within 4 sigma."""
    names = NAMES[2]
    drawn = Counter(subsets(names, [2], SEEDS)[2, seed] for seed in SEEDS)
    assert set(drawn) == set(combinations(names, 2))
    assert all(abs(number - 40) < 4 * (400 * 0.1 * 0.9) ** 0.5 for number in drawn.values())


def test_a_category_left_out_leaves_the_others_order_alone() -> None:
    """Without a category a seed picks what it picked before, the next one in its place."""
    names = NAMES[3]
    for seed in SEEDS:
        before = subsets(names, [3, 4], [seed])
        rest = tuple(name for name in names if name != "c0")
        after = subsets(rest, [3], [seed])[3, seed]
        larger = before[4 if "c0" in before[3, seed] else 3, seed]
        assert set(after) == set(larger) - {"c0"}


def test_the_grid_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every base, method, count and seed has a cell of its own name, with the experts that the seed picks."""
    config = load(tmp_path, monkeypatch, bases=[base("a"), base("b", size="8B")])
    cells = merges(config)
    picked = subsets(config.categories, config.counts, config.seeds)
    for one in ("a", "b"):
        for method in ("averaging", "dare"):
            own = [(cell.count, cell.seed) for cell in cells if (cell.base, cell.method) == (one, method)]
            assert own == [(2, 0), (2, 1), (4, 0)] + ([(4, 1)] if method == "dare" else [])
    assert all(cell.experts == picked[cell.count, cell.seed] and not cell.settings for cell in cells)
    assert len({cell.label for cell in cells}) == len(cells) == 14


def test_experts_that_are_missing_leave_the_grid_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base without an expert has the same cells as others; their config says what is missing and why."""
    whole = merges(load(tmp_path, monkeypatch))
    config = load(tmp_path, monkeypatch, bases=[base("a", CATEGORIES[1:])])
    assert merges(config) == whole
    cell = next(cell for cell in whole if "colour" in cell.experts)
    with pytest.raises(InputError, match=r"no colour expert: .*names none$"):
        merge_config_dict(cell, config.bases[0], config.methods[0])


def test_every_combination_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tuning merges each combination once for each base and count, with the experts of its own seed."""
    methods = {"averaging": {"merge_method": "linear"}, "ties": TIES}
    tune = {"suite": "validation.yaml", "seed": 7}
    config = load(tmp_path, monkeypatch, methods=methods, tune=tune)
    cells = tuning_cells(config)
    assert len(cells) == len(set(cells)) == 2 * 4
    assert {cell.method for cell in cells} == {"ties"}
    assert [cell.settings for cell in cells[:4]] == [
        (("density", density), ("lambda", factor)) for factor in (0.5, 1.0) for density in (0.1, 0.2)
    ]
    picked = subsets(config.categories, config.counts, [7])
    assert all(cell.seed == 7 and cell.experts == picked[cell.count, 7] for cell in cells)


def test_nothing_is_tried_where_nothing_is_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study without tuned parameters has no tuning merges."""
    assert tuning_cells(load(tmp_path, monkeypatch)) == ()


def test_settings_are_sorted_and_replaced() -> None:
    """Settings written in any order make the same cell, and new ones take the place of old ones."""
    cell = Cell("a", "ties", 2, 0, ("colour", "size"))
    tuned = with_settings(cell, {"lambda": 0.5, "density": 0.2})
    assert tuned == with_settings(with_settings(cell, {"x": 1}), {"density": 0.2, "lambda": 0.5})
    assert tuned.label == "a/ties/2 experts/seed 0/density=0.2/lambda=0.5"


def test_a_cell_is_a_merge_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deltas are taken from the base and averages leave it out; tuned values lie over fixed ones; a seed
    reaches what draws at random and nothing else.
    """
    config = load(tmp_path, monkeypatch, seeds=[3, 4])
    average, dare = config.methods
    cell = Cell("a", "x", 2, 4, ("size", "taste"), (("density", 0.25),))
    models = [{"model": "m/a/size"}, {"model": "m/a/taste"}]
    assert merge_config_dict(with_settings(cell, {}), config.bases[0], average) == {
        "merge_method": "linear",
        "models": models,
        "parameters": {"weight": 1.0},
    }
    assert merge_config_dict(cell, config.bases[0], dare) == {
        "merge_method": "dare_ties",
        "base_model": "m/a/base",
        "models": models,
        "parameters": {"weight": 1.0, "density": 0.25, "seed": 4},
    }


def test_every_cell_is_read_by_the_merge_configs_own_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The config of every merge and every trial parses, and names the experts of its cell."""
    methods = {
        "averaging": {"merge_method": "linear"},
        "ties": TIES,
        "own": {"merge_method": "dare_linear", "parameters": {"weight": 0.5, "semantics": "paper"}},
    }
    config = load(tmp_path, monkeypatch, methods=methods, tune={"suite": "validation.yaml"})
    of = {method.name: method for method in config.methods}
    for cell in (*merges(config), *tuning_cells(config)):
        parsed = parse_config(merge_config_dict(cell, config.bases[0], of[cell.method]), cell.label)
        assert [str(entry.model) for entry in parsed.models] == [f"m/a/{name}" for name in cell.experts]
        assert parsed.parameters["weight"][0].value == (0.5 if cell.method == "own" else 1.0)
