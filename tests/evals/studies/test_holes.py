"""What a study cannot have: found before any work where it can be, else a hole with its reason."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals.setting import Setting
from evals.store import RecordStore
from evals.studies.config import StudyConfig
from evals.studies.estimate import Amount
from evals.studies.grid import merges, tuning_cells
from evals.studies.order import entries, merged, prepare
from evals.studies.plan import plan_study
from evals.studies.reporting import report_study
from evals.studies.run import Running, chosen_merges, run_study
from evals.studies.state import earlier_trials, read_state, scores_of
from evals.studies.status import status_of
from evals.studies.tables.tables import make_tables
from evals.studies.tuning import pairs_of
from pipeline.errors import ConfigError, InputError, RunError
from tests.helpers.inline import InlineExecutor
from tests.helpers.study_models import CATEGORIES, one_base, small_study

AVERAGING: dict[str, Any] = {"averaging": {"merge_method": "linear"}}
TUNED: dict[str, Any] = {"m": {"merge_method": "task_arithmetic", "tune": {"lambda": [0.3, 1.0]}}}
ONE: dict[str, Any] = {"bases": [one_base("weak")], "seeds": [0], "experts": [2]}


def run(config: StudyConfig) -> RunError | None:
    """Run the study in this process; what it says is missing."""
    return run_study(prepare(config, Setting(), print), Running(InlineExecutor, print))


def test_a_base_that_is_not_there_leaves_the_report_whole(files: Path) -> None:
    """A base without its model, and one of which nothing is there, are holes; every page is written."""
    experts = {one: f"m/gone/{one}" for one in CATEGORIES}
    bases = [
        one_base("weak"),
        one_base("strong", model="m/strong/nowhere", size="2M"),
        one_base("gone", model="m/gone/base", experts=experts, size="4M"),
    ]
    config = small_study(files, **(ONE | {"bases": bases, "methods": AVERAGING, "tune": None}))
    missing = run(config)
    assert missing is not None and "m/strong/nowhere" in missing.where
    scores = scores_of(config.out, read_state(config.out))
    parameters = {score.subject.base: score.subject.parameters for score in scores}
    assert parameters["weak"] == parameters["strong"] > 0 and parameters["gone"] == 0
    merged = [score for score in scores if score.subject.kind == "merge" and score.subject.base == "strong"]
    assert all(score.value is not None for score in merged)
    page = report_study(config.out).read_text()
    assert "m/strong/nowhere" in page and "finished with holes" in page and "partial:" not in page
    assert (config.out / "report" / "figures" / "held-in-size.svg").is_file()


def test_the_best_expert_is_found_where_it_is_asked_for(files: Path) -> None:
    """With best-expert every expert answers all held-in tasks; without it only its own, and that is said."""
    small = ONE | {"methods": AVERAGING, "tune": None}
    whole = prepare(small_study(files, **small), Setting(), print)
    own = prepare(small_study(files, **small, compare=["experts", "multitask"]), Setting(), print)
    asked = [
        [one for one in entries(study, study.members) if one.task.role == "held-in"] for study in (whole, own)
    ]
    labels = [[one.label for one in some].count("weak/colour") for some in asked]
    assert labels == [3, 1]
    assert run(own.config) is None
    assert "not asked for" in report_study(own.config.out).read_text()
    assert run(whole.config) is None
    assert "not asked for" not in report_study(whole.config.out).read_text()


def test_a_category_that_is_left_out_spoils_no_average(files: Path) -> None:
    """Base and multitask model answer its tasks, experts do not; the best expert is that of the others."""
    small = ONE | {"methods": AVERAGING, "tune": None, "categories": ["colour", "size"]}
    config = small_study(files, **small)
    assert run(config) is None
    scores = scores_of(config.out, read_state(config.out))
    asked = {one.subject.kind for one in scores if one.question.category == "shape"}
    assert asked == {"base", "multitask"}
    rows = make_tables(scores, [], qualities=["weak"], resamples=0).summaries
    found = {row.subject.kind: row for row in rows if row.role == "held-in"}
    assert all(found[kind].ratio is not None for kind in ("base", "best expert", "multitask", "merge"))
    assert all(set(row.by_category) == {"colour", "size"} for row in found.values())


def test_a_task_may_have_a_limit_of_its_own(files: Path) -> None:
    """Of a task with a limit so many items are scored, on validation rows too; the plan counts them."""
    limits = {"colour-task": 3, "other-task": 8}
    config = small_study(files, **ONE, methods=TUNED, limits=limits, limit=5)
    study = prepare(config, Setting(), print)
    found = {(task.suite, task.name): study.setting.items(task) for task in (*study.tasks, *study.validation)}
    assert found["held-in", "colour-task"] == found["validation", "colour-task"] == 3
    assert found["held-out", "other-task"] == 8 and found["held-in", "size-task"] == 5
    bare = small_study(files, **ONE, methods=AVERAGING, tune=None, limits=limits, limit=5, compare=[])
    (cell,) = merges(bare)
    own = sum(3 if one == "colour" else 5 for one in cell.experts)
    assert plan_study(bare, Setting(), None).bases[0].items == (3 + 5 + 5 + 8) + (own + 8)


def test_a_size_may_have_a_limit_of_its_own(files: Path) -> None:
    """Models of a size with a limit are scored, and tuned, on so many items; the plan agrees."""
    bases = [one_base("weak"), {**one_base("strong"), "size": "9B"}]
    config = small_study(files, bases=bases, experts=[2], seeds=[0], limit=5, by_size={"9B": {"limit": 2}})
    study = prepare(config, Setting(), print)
    reported = entries(study, [*study.members, *merged(study, merges(config))])
    asked = {(one.subject.size, study.setting.items(one.task)) for one in reported}
    assert asked == {("1M", 5), ("9B", 2)}
    tried = pairs_of(study, merged(study, tuning_cells(config)))
    assert {(model.label.split("/")[0], study.setting.items(task)) for model, task in tried} == {
        ("weak", 5),
        ("strong", 2),
    }
    weak, strong = plan_study(config, Setting(), None).bases
    assert weak.items == weak.scores * 5 and strong.items == strong.scores * 2


def test_reported_rows_are_never_tuned_on(files: Path) -> None:
    """A validation suite whose task has the rows of a reported one, in a copy even, is refused at once."""
    shutil.copy(files / "held-in-size.jsonl", files / "validation-size.jsonl")
    with pytest.raises(InputError, match="tuned on rows that are reported") as error:
        prepare(small_study(files), Setting(), print)
    assert "validation.yaml" in error.value.where and error.value.found == "those of held-in/size-task"


def test_every_category_has_validation_rows(files: Path) -> None:
    """Parameters are not chosen on some of the categories: one without validation rows is an error."""
    (files / "validation-size.jsonl").unlink()
    with pytest.raises(InputError, match="without validation rows") as error:
        prepare(small_study(files, skip_missing=True), Setting(), print)
    assert error.value.found == "none of size"


def test_missing_data_names_the_study_files_own_keys(files: Path) -> None:
    """The hint speaks of `data` and `skip_missing`, which a study file has, and of no option."""
    (files / "held-out-other.jsonl").unlink()
    with pytest.raises(InputError, match="data of the suite") as error:
        prepare(small_study(files), Setting(), print)
    assert "`data`" in error.value.hint and "--" not in error.value.hint


def test_a_place_that_cannot_be_written_is_found_first(files: Path) -> None:
    """A study that would go into a file is refused before any work, and its plan says so."""
    config = small_study(files, **ONE, out="held-in.yaml")
    with pytest.raises(InputError, match="cannot be kept"):
        prepare(config, Setting(), print)
    plan = plan_study(config, Setting(), None)
    assert plan.done is None and any("cannot be kept" in note for note in plan.notes)


def test_a_study_without_any_base_is_refused_in_one_sentence(files: Path) -> None:
    """Where no base can be had the error gives the first reason and counts the others; nothing is made."""
    bases = [one_base(name, model=f"m/{name}/nowhere") for name in ("weak", "strong")]
    with pytest.raises(InputError, match="no base") as error:
        prepare(small_study(files, bases=bases), Setting(), print)
    assert "m/weak/nowhere" in error.value.found and error.value.found.endswith("; and 1 more")
    assert not (files / "out").exists()


def test_a_plan_of_a_finished_study_has_nothing_left(files: Path) -> None:
    """Scores on validation rows count too: before a run none is there, after it all that were planned."""
    config = small_study(files, **ONE, methods=TUNED)
    before = plan_study(config, Setting(), None)
    assert run(config) is None
    after = plan_study(config, Setting(), None)
    total = sum(base.scores for base in after.bases)
    assert (before.done, after.done) == (0, total) and total == sum(base.scores for base in before.bases)


def test_what_cannot_be_had_is_not_left(files: Path) -> None:
    """Scores that need an expert that is not there are in the whole of a plan, and not in what is left."""
    experts = {"colour": "m/weak/colour", "size": "m/weak/size", "shape": "m/weak/nowhere"}
    config = small_study(files, bases=[one_base("weak", experts=experts)], seeds=[0], methods=TUNED)
    before = plan_study(config, Setting(), None)
    assert before.left is not None and before.left.scores < before.bases[0].scores
    assert run(config) is not None
    assert plan_study(config, Setting(), None).left == Amount()


def test_a_task_has_the_rate_at_which_it_was_scored(files: Path) -> None:
    """The time of a plan is that of every task's own items as measured before, not one mean over all."""
    config = small_study(files, **ONE, methods=AVERAGING, tune=None)
    assert run(config) is None
    store = RecordStore(config.out / "scores")
    for path in store.files():
        record = store.get(path.stem)
        assert record is not None
        store.put(
            path.stem, replace(record, elapsed_s=record.n * (5.0 if record.role == "held-out" else 0.5))
        )
    held_out = small_study(files, **ONE, methods=AVERAGING, tune=None, compare=[], limit=2)
    found = plan_study(held_out, Setting(limit=2), None)
    assert found.left is not None and found.left.scores == 4 + 3, "another limit: nothing is there"
    assert found.left.score_seconds == pytest.approx(2 * (2 * 5.0 + 5 * 0.5))


def test_a_choice_of_another_file_is_not_taken_over(files: Path) -> None:
    """What was chosen among other values, for another parameter, or is fixed now, reaches no merge."""
    config = small_study(files, **ONE, methods=TUNED)
    assert run(config) is None
    trials = read_state(config.out).trials
    fixed = {"m": {"merge_method": "task_arithmetic", "parameters": {"lambda": 0.7}}}
    again = prepare(small_study(files, **ONE, methods=fixed, tune=None), Setting(), print)
    (found,) = chosen_merges(again, merges(again.config), trials)
    assert found.model is not None and found.model.label == "weak/m/2 experts/seed 0"
    other = {"m": {"merge_method": "ties", "tune": {"density": [0.1, 0.2]}}}
    again = prepare(small_study(files, **ONE, methods=other), Setting(), print)
    (found,) = chosen_merges(again, merges(again.config), trials)
    assert found.model is None and found.why == "its parameters are not tuned yet"


def test_a_model_that_cannot_be_kept_costs_no_score(files: Path) -> None:
    """Where one merged model cannot be written the others are, all scores are there, and it is said."""
    place = files / "out" / "merged" / "weak" / "averaging" / "2-experts" / "seed-0"
    place.mkdir(parents=True)
    (place / "mine.txt").write_text("not a model")
    changes = ONE | {"methods": AVERAGING, "tune": None, "experts": [2, 3], "keep": True}
    config = small_study(files, **changes)
    missing = run(config)
    assert (
        missing is not None
        and missing.what == "0 of 27 scores are missing, 1 model not kept"
        and str(place.name) in missing.where
    )
    assert all(score.value is not None for score in scores_of(config.out, read_state(config.out)))
    assert (files / "out/merged/weak/averaging/3-experts/seed-0/model.safetensors").is_file()


def test_an_order_of_another_version_says_what_to_do(files: Path) -> None:
    """Status and report of another version name the command that renews the study; it measures nothing."""
    config = small_study(files, **ONE, methods=TUNED)
    assert run(config) is None
    path = config.out / "study.json"
    whole = read_state(config.out)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 0}))
    for read in (status_of, report_study):
        with pytest.raises(InputError, match="another version") as error:
            read(config.out)
        assert error.value.hint == "run it again: mergescale study run; scores that are there are kept"
    executor = InlineExecutor()
    assert run_study(prepare(config, Setting(), print), Running(lambda: executor, print)) is None
    assert not executor.ran and read_state(config.out) == whole


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"schema": 1}', '{"schema": 1, "subjects": [5]}'])
def test_a_damaged_order_is_written_anew(text: str, tmp_path: Path) -> None:
    """Whatever an order holds, status and report say so in words, and a run takes nothing from it."""
    (tmp_path / "study.json").write_text(text)
    assert earlier_trials(tmp_path) == ()
    for read in (status_of, report_study):
        with pytest.raises(InputError) as error:
            read(tmp_path)
        assert error.value.where == str(tmp_path / "study.json")


def test_tuning_needs_experts_to_be_set_against(files: Path) -> None:
    """A study that compares with no expert cannot tune: its trials would have nothing to be judged by."""
    with pytest.raises(ConfigError, match="nothing to judge by"):
        small_study(files, compare=["multitask"])
