"""A whole small study, run in this process: what is measured, kept, chosen, missing, and written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.contract import Outcome, Unit
from evals.record import read_jsonl
from evals.setting import Setting
from evals.studies.config import StudyConfig
from evals.studies.estimate import Amount, in_words
from evals.studies.order import prepare
from evals.studies.plan import plan_study
from evals.studies.report.records import records_parquet
from evals.studies.reporting import report_study
from evals.studies.run import Running, run_study
from evals.studies.state import ORDER, cost_rows, read_state, scores_of
from evals.studies.status import status_of
from pipeline.checkpoint.manifest import MANIFEST_NAME
from pipeline.errors import InputError, RunError
from tests.helpers.inline import InlineExecutor
from tests.helpers.study_files import base as listed
from tests.helpers.study_models import CATEGORIES, one_base, small_study, write_files


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """The folder of a study of two bases that was run to its end."""
    folder = tmp_path_factory.mktemp("finished")
    write_files(folder, models)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert plan_study(small_study(folder), Setting(), None).done == 0
        missing, executor, _ = run(small_study(folder))
    assert missing is None and executor.ran
    return folder


@pytest.fixture
def done(finished: Path, monkeypatch: pytest.MonkeyPatch) -> StudyConfig:
    """The study that was run to its end; tests must not change it."""
    monkeypatch.chdir(finished)
    return small_study(finished)


def run(config: StudyConfig) -> tuple[RunError | None, InlineExecutor, list[str]]:
    """(what is missing, the executor with what it ran, the lines for people)."""
    executor, lines = InlineExecutor(), list[str]()
    prepared = prepare(config, Setting(limit=config.limit), lines.append)
    return run_study(prepared, Running(lambda: executor, lines.append)), executor, lines


def test_a_study_measures_every_cell_once(done: StudyConfig) -> None:
    """Every score of the grid is there after a run; a second run measures nothing and changes no byte."""
    scores = scores_of(done.out, read_state(done.out))
    assert len({score.subject for score in scores}) == 2 * (5 + 3 * 2 + 1 + 1 + 2)
    assert all(score.value is not None and score.id for score in scores)
    page = report_study(done.out).read_bytes()
    missing, executor, _ = run(done)
    assert missing is None and not executor.ran
    assert report_study(done.out).read_bytes() == page
    assert not list(done.out.rglob("*.safetensors"))


def test_a_score_of_before_runs_were_known_is_of_run_0(done: StudyConfig, tmp_path: Path) -> None:
    """An order that says nothing of runs is read as one of run 0, and published records say so."""
    state = read_state(done.out)
    content = json.loads((done.out / ORDER).read_text())
    for subject in content["subjects"]:
        assert subject.pop("run") == 0
    (tmp_path / ORDER).write_text(json.dumps(content))
    assert read_state(tmp_path) == state
    table = pq.read_table(pa.BufferReader(records_parquet(scores_of(done.out, state))))
    assert set(table["run"].to_pylist()) == {0}


def test_merges_are_scored_on_their_experts_tasks_and_the_held_out_ones(done: StudyConfig) -> None:
    """Held-in tasks of a merge are those whose expert is in it; references are scored on theirs."""
    asked = read_state(done.out).asked
    for one in asked:
        own = one.subject.experts if one.subject.kind == "merge" else CATEGORIES
        assert one.question.role == "held-out" or one.question.category in own
    counts = Counter(one.label for one in asked)
    assert counts["weak/base"] == 4 and counts["weak/colour"] == 4 and counts["weak/multitask"] == 4
    assert counts["weak/averaging/2 experts/seed 0"] == 3 and counts["weak/averaging/3 experts/seed 0"] == 4


def test_parameters_are_chosen_on_validation_rows_alone(done: StudyConfig) -> None:
    """The best trial of each base, method and count is chosen, on rows that the study does not report."""
    state = read_state(done.out)
    assert len(state.trials) == 2 * 2 * 2
    for trial in state.trials:
        rivals = [one for one in state.trials if (one.base, one.count) == (trial.base, trial.count)]
        assert sum(one.chosen for one in rivals) == 1
        if trial.chosen:
            assert trial.score == max(one.score for one in rivals if one.score is not None)
            start = f"{trial.base}/arithmetic/{trial.count} experts/seed 0"
            assert any(one.label == f"{start}/lambda={trial.settings[0][1]}" for one in state.asked)
    suites = {
        name: {record.suite for record in read_jsonl(done.out / name / "records.jsonl")}
        for name in ("scores", "tuning")
    }
    assert suites == {"scores": {"held-in", "held-out"}, "tuning": {"validation"}}


def test_a_plan_counts_what_a_run_does(done: StudyConfig) -> None:
    """The plan's numbers of merges and scores are those of the run; afterwards all are there."""
    found, state = plan_study(done, Setting(), None), read_state(done.out)
    merges = {one.label for one in state.asked if one.subject.kind == "merge"}
    assert sum(base.merges for base in found.bases) == len(merges)
    assert sum(base.tuning_merges for base in found.bases) == len(state.trials)
    on_rows = sum(trial.count for trial in state.trials) + 2 * len(CATEGORIES)
    assert sum(base.scores for base in found.bases) == len(state.asked) + on_rows
    assert found.done == len(state.asked) + on_rows
    assert found.left == Amount()
    described = plan_study(done, Setting(), "nodes=2,gpus=4")
    assert (described.workers, described.device) == (8, "cuda")


def test_work_is_accounted_for(done: StudyConfig) -> None:
    """Loading, merging and scoring is in the costs, with time, bytes and peak memory."""
    rows = cost_rows(done.out, read_state(done.out))
    assert {row["kind"] for row in rows} == {"load", "merge", "score"}
    assert all(row["size"] == "1M" and row["peak_bytes"] > 0 for row in rows)
    assert all(row["read_bytes"] > 0 for row in rows if row["kind"] != "score")


def test_a_changed_method_is_all_that_is_measured_again(files: Path) -> None:
    """After a change of one method's parameters only its merges are measured."""
    small: dict[str, Any] = {"bases": [one_base("weak")], "seeds": [0], "tune": None}
    methods: dict[str, Any] = {
        "averaging": {"merge_method": "linear"},
        "dare": {"merge_method": "dare_ties", "parameters": {"density": 0.5}},
    }
    run(small_study(files, methods=methods, **small))
    methods["dare"]["parameters"]["density"] = 0.6
    changed = small_study(files, methods=methods, **small)
    left = plan_study(changed, Setting(), None).left
    assert left is not None and (left.merges, left.tuning_merges, left.scores) == (2, 0, 3 + 4)
    assert left.items == 7 * 1000 and left.read_bytes > 0, "no limit is written: a thousand items"
    _, executor, lines = run(changed)
    assert lines[0].startswith(f"small, left: {in_words(left, 'cpu').rpartition(',')[0]}")
    answers = [name for name in executor.ran if not name.startswith("check/")]
    assert answers and all("/dare/" in name for name in answers)


def test_what_is_missing_is_a_hole_with_its_reason(files: Path) -> None:
    """An expert that is not there costs the scores that need it; the others are measured, and it is said."""
    experts = {"colour": "m/weak/colour", "size": "m/weak/size", "shape": "m/weak/nowhere"}
    config = small_study(files, bases=[one_base("weak", experts=experts)], seeds=[0, 2])
    missing, _, _ = run(config)
    assert missing is not None and "nowhere" in missing.where
    scores = scores_of(config.out, read_state(config.out))
    holes = [score for score in scores if score.value is None]
    assert holes and all("shape" in score.subject.experts and score.why for score in holes)
    assert any(score.value is not None and score.subject.count == 2 for score in scores)
    assert "nowhere" in report_study(config.out).read_text()
    grid, lines = status_of(config.out)
    assert sum(int(row[4]) for row in grid.rows) == len(holes) and any("nowhere" in line for line in lines)


def test_a_stopped_study_goes_on(files: Path) -> None:
    """What was measured before a run was ended is not measured again, and a report can be had meanwhile."""
    config = small_study(files, bases=[one_base("weak")], seeds=[0])

    class Ending(InlineExecutor):
        def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
            for outcome in super().run(units):
                yield outcome
                if "averaging" in outcome.unit_id:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(prepare(config, Setting(), print), Running(Ending, print))
    page = report_study(config.out).read_text()
    assert "not measured yet" in page and "partial:" in page
    before = [score for score in scores_of(config.out, read_state(config.out)) if score.value is not None]
    _, executor, _ = run(config)
    after = {score.id: score for score in scores_of(config.out, read_state(config.out))}
    assert before and all(after[score.id] == score for score in before)
    answers = [name for name in executor.ran if not name.startswith("check/")]
    assert answers and "weak/base on held-in/colour-task" not in answers


def test_models_that_are_not_here_are_planned_by_their_written_size(files: Path) -> None:
    """A plan needs no models: it says what it takes them to be, and that what is there cannot be known."""
    methods = {"averaging": {"merge_method": "linear"}}
    far = listed("far", CATEGORIES, parameters=1e9)
    found = plan_study(
        small_study(files, bases=[far], tune=None, methods=methods), Setting(), "nodes=1,gpus=8"
    )
    assert found.bases[0].weights_bytes == 2_000_000_000 and found.done is None
    assert found.seconds > 0 and any("cannot be said" in note for note in found.notes)


def test_kept_merges_are_written(files: Path) -> None:
    """With `keep` every merge is a model directory under OUT/merged."""
    methods = {"averaging": {"merge_method": "linear"}}
    config = small_study(files, keep=True, bases=[one_base("weak")], tune=None, methods=methods, seeds=[0])
    assert run(config)[0] is None
    kept = sorted(str(path.parent) for path in (config.out / "merged").rglob(MANIFEST_NAME))
    start = f"{config.out}/merged/weak/averaging"
    assert kept == [f"{start}/2-experts/seed-0", f"{start}/3-experts/seed-0"]


def test_a_study_that_was_not_begun_has_no_status(files: Path) -> None:
    """Status and report of nothing say so."""
    with pytest.raises(InputError, match="no study was begun"):
        status_of(small_study(files).out)
