"""What parameters are chosen on when something is missing: the experts and tasks that are left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evals.setting import Setting
from evals.studies.config import StudyConfig
from evals.studies.grid import tuning_cells
from evals.studies.order import prepare
from evals.studies.reporting import report_study
from evals.studies.run import Running, run_study
from evals.studies.state import read_state, scores_of
from pipeline.errors import RunError
from tests.helpers.inline import InlineExecutor
from tests.helpers.study_models import CATEGORIES, one_base, small_study
from tests.helpers.tasks import CHOICE, FREE, choice_task, write_suite

TUNED: dict[str, Any] = {"m": {"merge_method": "task_arithmetic", "tune": {"lambda": [0.3, 1.0]}}}
ONE: dict[str, Any] = {"bases": [one_base("weak")], "seeds": [0], "experts": [2], "methods": TUNED}


def run(config: StudyConfig) -> RunError | None:
    """Run the study in this process; what it says is missing."""
    return run_study(prepare(config, Setting(), print), Running(InlineExecutor, print))


def test_parameters_are_tuned_on_the_experts_that_are_there(files: Path) -> None:
    """An expert that is not there costs the merges that need it, each for that reason, and no tuning."""
    experts = {"colour": "m/weak/colour", "size": "m/weak/size", "shape": "m/weak/nowhere"}
    config = small_study(files, bases=[one_base("weak", experts=experts)], seeds=[0, 2], methods=TUNED)
    study = prepare(config, Setting(), print)
    (base,) = study.config.bases
    assert set(base.experts) == {"colour", "size"} and "m/weak/nowhere" in base.missing["shape"]
    assert {cell.experts for cell in tuning_cells(study.config)} == {("colour", "size")}
    assert run(config) is not None
    state = read_state(config.out)
    assert sum(one.chosen for one in state.trials) == 1 and all(one.score for one in state.trials)
    scores = [score for score in scores_of(config.out, state) if score.subject.kind == "merge"]
    assert {score.value is not None for score in scores if "shape" not in score.subject.experts} == {True}
    whys = {score.why for score in scores if "shape" in score.subject.experts}
    assert len(whys) == 1 and "no shape expert: " in whys.pop()


def test_a_task_on_which_an_expert_scores_nothing_ranks_no_trial(files: Path) -> None:
    """It is left out of all trials alike, each says so; where no other task is, nothing is chosen."""
    data = {name: {"test": f"validation-{name}.jsonl"} for name in CATEGORIES}
    silent = {
        name: [choice_task(f"{name}-task", definition=FREE, metric="exact_match", chance=0.0, data=rows)]
        for name, rows in data.items()
    }
    answered = {name: [choice_task(f"{name}-task", definition=CHOICE, data=data[name])] for name in data}
    write_suite(files / "validation.yaml", answered | {"size": silent["size"]}, role="held-in")
    config = small_study(files, **(ONE | {"experts": [3]}))
    assert run(config) is None
    trials = read_state(config.out).trials
    why = "without size-task: the expert scores 0 there"
    assert {one.why for one in trials} == {why} and all(one.score is not None for one in trials)
    assert sum(one.chosen for one in trials) == 1 and why in report_study(config.out).read_text()
    (files / "out" / "study.json").unlink()
    write_suite(files / "validation.yaml", silent, role="held-in")
    assert run(small_study(files, **(ONE | {"experts": [3]}))) is not None
    asked = [one.why for one in read_state(config.out).asked if one.subject.kind == "merge"]
    assert asked and all("not tuned: without " in one and "scores 0 there" in one for one in asked)


def test_merges_that_are_not_tuned_say_why(files: Path) -> None:
    """The reason of a trial that failed is that of the merges which wait for it."""
    bases = [one_base("weak"), one_base("strong", model="m/strong/nowhere")]
    config = small_study(files, **(ONE | {"bases": bases}))
    assert run(config) is not None
    asked = [one for one in read_state(config.out).asked if one.subject.kind == "merge"]
    why = {one.why for one in asked if one.subject.base == "strong"}
    assert why and all("not tuned: " in one and "m/strong/nowhere" in one for one in why)
    assert all(one.key for one in asked if one.subject.base == "weak")
