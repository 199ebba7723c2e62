"""Runs as an axis of a study: experts that were trained again are merged, scored and said apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evals.setting import Setting
from evals.studies.config import StudyConfig, load_study
from evals.studies.grid import merge_config_dict, merges, tuning_cells
from evals.studies.order import merged, prepare
from evals.studies.plan import plan_study
from evals.studies.report.records import records_parquet
from evals.studies.reporting import report_records, report_study
from evals.studies.run import Running, run_study
from evals.studies.state import read_state, scores_of
from pipeline.errors import ConfigError, RunError
from tests.helpers.inline import InlineExecutor
from tests.helpers.models import write_model
from tests.helpers.study_files import base as listed
from tests.helpers.study_files import write_family_index, write_study, write_suites
from tests.helpers.study_models import CATEGORIES, one_base, small_study

PLAIN: dict[str, Any] = {"averaging": {"merge_method": "linear"}}


def write_runs(folder: Path, runs: int) -> list[dict[str, Any]]:
    """Experts of further runs of the weak base, beside those of `files`; as a base's `runs` lists them."""
    found = []
    for run in range(1, runs):
        place = folder / f"run-{run}"
        for seed, name in enumerate((*CATEGORIES, "multitask")):
            write_model(place / name, seed=100 * run + seed, base=folder / "m/weak/base", delta=0.1)
        experts = {name: f"run-{run}/{name}" for name in CATEGORIES}
        found.append({"experts": experts, "multitask": f"run-{run}/multitask"})
    return found


def run_whole(config: StudyConfig) -> RunError | None:
    """Run the study in this process; what it says is missing."""
    return run_study(prepare(config, Setting(), print), Running(InlineExecutor, print))


def family_study(folder: Path, **changes: Any) -> StudyConfig:
    """A study of a family of two bases, one of which has three runs."""
    write_suites(folder)
    write_family_index(Path("f"), {"a": ("1M", "weak"), "b": ("1M", "strong")}, runs={"b": 3})
    return load_study(write_study(folder, bases=None, family="f", **changes))


def test_a_family_gives_every_run_its_own_experts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All runs of a family are taken, `runs: N` takes the first N; run 0 is what it always was."""
    monkeypatch.chdir(tmp_path)
    for changes in ({}, {"runs": "all"}):
        one, two = family_study(tmp_path, **changes).bases
        assert (list(one.runs), list(two.runs)) == ([0], [0, 1, 2])
        assert two.in_run(0) == two and two.experts["size"] == "f/experts/b/size"
        assert two.in_run(2).experts["size"] == "f/runs/2/b/size"
        assert two.in_run(2).multitask == "f/runs/2/b/multitask" and two.in_run(2).model == two.model
    assert [len(base.runs) for base in family_study(tmp_path, runs=1).bases] == [1, 1]
    one, two = family_study(tmp_path).bases
    assert merges(family_study(tmp_path, runs=1)) == tuple(
        cell for cell in merges(family_study(tmp_path)) if cell.run == 0
    )


@pytest.mark.parametrize(
    ("changes", "where", "hint"),
    [
        ({"runs": 2}, "runs", "--repeat 2 --size 1M"),
        ({"runs": 0}, "runs", ""),
        ({"runs": "some"}, "runs", ""),
        ({"runs": None}, "runs", ""),
    ],
)
def test_runs_that_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], where: str, hint: str
) -> None:
    """A number of runs that a base does not have, or none, is a ConfigError that says what builds them."""
    monkeypatch.chdir(tmp_path)
    family_study(tmp_path)
    path = tmp_path / "study.yaml"
    path.write_text(path.read_text() + f"runs: {'' if changes['runs'] is None else changes['runs']}\n")
    with pytest.raises(ConfigError) as error:
        load_study(path)
    assert error.value.where == f"{path}: {where}" and hint in error.value.hint


def test_a_model_stands_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expert that is listed in two runs is refused: it would be its own luck."""
    monkeypatch.chdir(tmp_path)
    write_suites(tmp_path)
    again = {"experts": {"colour": "m/a/colour"}}
    with pytest.raises(ConfigError, match="one model in two places") as error:
        load_study(write_study(tmp_path, bases=[listed("a", runs=[again])]))
    assert error.value.where.endswith("bases[0].runs[0].experts.colour")


def test_every_run_merges_its_own_experts(files: Path) -> None:
    """Each merge of the grid stands once for each run of its base, under a name of its own; its models are
    that run's, the categories and the base the same.
    """
    config = small_study(files, bases=[one_base("weak", runs=write_runs(files, 3))], tune=None, methods=PLAIN)
    cells = merges(config)
    assert len({cell.label for cell in cells}) == len(cells) == 3 * len([c for c in cells if not c.run])
    for cell in cells:
        models = [
            one["model"] for one in merge_config_dict(cell, config.bases[0], config.methods[0])["models"]
        ]
        start = f"run-{cell.run}" if cell.run else "m/weak"
        assert models == [f"{start}/{name}" for name in cell.experts]
    study = prepare(config, Setting(), print)
    digests = {one.model.digest for one in merged(study, cells) if one.model is not None}
    assert len(digests) == len(cells)


def test_a_study_of_runs_measures_each(files: Path) -> None:
    """Experts, multitask models and merges of every run are scored as those of run 0; a base is scored once;
    the plan counts them; published rows say the run.
    """
    config = small_study(files, bases=[one_base("weak", runs=write_runs(files, 2))])
    before = plan_study(config, Setting(), None)
    assert run_whole(config) is None
    state = read_state(config.out)
    scores = scores_of(config.out, state)
    assert all(score.value is not None for score in scores)
    per_run = [[one for one in scores if one.subject.run == run] for run in (0, 1)]
    plain = [(one.subject.kind, one.subject.method, one.subject.experts, one.question) for one in per_run[1]]
    assert plain == [
        (one.subject.kind, one.subject.method, one.subject.experts, one.question)
        for one in per_run[0]
        if one.subject.kind != "base"
    ]
    assert len({one.label for one in state.asked}) == len({one.subject for one in scores})
    assert not {one.id for one in per_run[0]} & {one.id for one in per_run[1]}
    assert sum(base.merges for base in before.bases) == len(
        {one.subject for one in scores if one.subject.kind == "merge"}
    )
    assert sum(base.scores for base in before.bases) == plan_study(config, Setting(), None).done
    page = report_study(config.out).parent / "report.md"
    assert "weak, run 1 of the experts" in page.read_text() and "2 of every base" in page.read_text()
    assert "run 0 " in (page.parent / "index.html").read_text(), "a cell says what it is in each run"
    rebuilt = report_records(page.parent / "records.parquet", files / "rebuilt").parent
    assert (rebuilt / "report.md").read_bytes() == page.read_bytes()
    table = pq.read_table(pa.BufferReader(records_parquet(scores)))
    assert table["run"].to_pylist() == [score.subject.run for score in scores]


def test_parameters_are_tuned_on_run_0_for_all_runs(files: Path) -> None:
    """Tuning costs the same however many runs there are, and what it chooses holds for each of them."""
    again = write_runs(files, 2)
    config = small_study(files, bases=[one_base("weak", runs=again)], seeds=[0])
    assert tuning_cells(config) == tuning_cells(small_study(files, bases=[one_base("weak")], seeds=[0]))
    config = small_study(files, bases=[one_base("weak", runs=again)], seeds=[0])
    assert run_whole(config) is None
    chosen: dict[tuple[int, int], set[str]] = {}
    for one in read_state(config.out).asked:
        if one.subject.method == "arithmetic":
            chosen.setdefault((one.subject.count, one.subject.run), set()).add(one.label.rpartition("/")[2])
    assert len(chosen) == 4 and all(chosen[count, 0] == chosen[count, 1] for count in (2, 3))
    assert all(len(names) == 1 and "lambda=" in next(iter(names)) for names in chosen.values())


def test_an_expert_that_one_run_lacks_costs_that_run_alone(files: Path) -> None:
    """Its merges are holes for that reason; those of the other runs are measured."""
    again = write_runs(files, 2)
    again[0]["experts"]["shape"] = "run-1/nowhere"
    config = small_study(files, bases=[one_base("weak", runs=again)], seeds=[0], tune=None, methods=PLAIN)
    missing = run_whole(config)
    assert missing is not None and "nowhere" in missing.where
    scores = scores_of(config.out, read_state(config.out))
    holes = [score for score in scores if score.value is None]
    assert holes and {score.subject.run for score in holes} == {1}
    assert all("shape" in score.subject.experts for score in holes)
