"""A whole small study, run in this process: what is measured, kept, chosen, missing, and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evals.setting import Setting
from evals.studies.config import StudyConfig, load_study
from evals.studies.order import prepare
from evals.studies.plan import plan_study
from evals.studies.reporting import report_study
from evals.studies.run import Running, run_study
from evals.studies.state import read_state, scores_of
from evals.studies.status import status_of
from pipeline.errors import InputError, RunError
from tests.helpers.inline import InlineExecutor
from tests.helpers.models import write_model
from tests.helpers.study_files import base as listed
from tests.helpers.study_files import write_study
from tests.helpers.tasks import CHOICE, choice_rows, choice_task, write_rows, write_suite

CATEGORIES = ("colour", "size", "shape")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of two qualities, three experts and a multitask model of each."""
    folder = tmp_path_factory.mktemp("models")
    for number, name in enumerate(("weak", "strong")):
        place = folder / name
        write_model(place / "base", seed=number, vocab=64, hidden=32, tokenizer=True)
        for seed, expert in enumerate((*CATEGORIES, "multitask")):
            write_model(place / expert, seed=10 + seed, base=place / "base", delta=0.1)
    return folder


@pytest.fixture
def files(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with suites and data; the study's paths start there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").symlink_to(models)
    for seed, split in enumerate(("held-in", "validation", "held-out")):
        categories = CATEGORIES if split != "held-out" else ("other",)
        for place, category in enumerate(categories):
            write_rows(tmp_path / f"{split}-{category}.jsonl", choice_rows(12, seed=10 * seed + place))
        tasks = {
            category: [
                choice_task(f"{category}-task", definition=CHOICE, data={"test": f"{split}-{category}.jsonl"})
            ]
            for category in categories
        }
        write_suite(tmp_path / f"{split}.yaml", tasks, role="held-out" if split == "held-out" else "held-in")
    return tmp_path


def study(folder: Path, **changes: Any) -> StudyConfig:
    """A study of the models: averaging, DARE, and a tuned task arithmetic; two of the three keys replaced."""
    bases = [
        listed(name, CATEGORIES, size="1M", quality=name, multitask=f"m/{name}/multitask")
        for name in ("weak", "strong")
    ]
    content: dict[str, Any] = {
        "bases": bases,
        "methods": {
            "averaging": {"merge_method": "linear"},
            "arithmetic": {"merge_method": "task_arithmetic", "tune": {"lambda": [0.3, 1.0]}},
            "dare": {"merge_method": "dare_ties", "parameters": {"density": 0.5}},
        },
        "experts": [2, 3],
        "tune": {"suite": "validation.yaml", "seed": 0},
        "bootstrap": 20,
    }
    return load_study(write_study(folder, **(content | changes)))


def run(config: StudyConfig) -> tuple[RunError | None, InlineExecutor, list[str]]:
    """(what is missing, the executor with what it ran, the lines for people)."""
    executor, lines = InlineExecutor(), list[str]()
    prepared = prepare(config, Setting(limit=config.limit), lines.append)
    return run_study(prepared, Running(lambda: executor, lines.append)), executor, lines


def test_a_study_measures_every_cell_once(files: Path) -> None:
    """Every score of the grid is there after a run; a second run measures nothing and changes no byte."""
    config = study(files)
    missing, executor, _ = run(config)
    assert missing is None and executor.ran
    scores = scores_of(config.out, read_state(config.out))
    assert len({score.subject for score in scores}) == 2 * (5 + 3 * 2 + 1 + 1 + 2)
    assert all(score.value is not None and score.id for score in scores)
    page = report_study(config.out).read_bytes()
    again, executor, _ = run(config)
    assert again is None and not executor.ran
    assert report_study(config.out).read_bytes() == page
    assert not list(config.out.rglob("*.safetensors"))


def test_merges_are_scored_on_their_experts_tasks_and_the_held_out_ones(files: Path) -> None:
    """Held-in tasks of a merge are those whose expert is in it; references are scored on theirs."""
    config = study(files)
    run(config)
    asked = read_state(config.out).asked
    for one in asked:
        own = one.subject.experts if one.subject.kind in ("merge", "expert") else CATEGORIES
        assert one.question.role == "held-out" or one.question.category in own
    counts = {one.label: sum(other.label == one.label for other in asked) for one in asked}
    assert counts["weak/base"] == 4 and counts["weak/colour"] == 2 and counts["weak/multitask"] == 4
    assert counts["weak/averaging/2 experts/seed 0"] == 3 and counts["weak/averaging/3 experts/seed 0"] == 4


def test_parameters_are_chosen_on_validation_rows_alone(files: Path) -> None:
    """The best trial of each base, method and count is chosen, on rows that the study does not report."""
    config = study(files)
    run(config)
    state = read_state(config.out)
    assert len(state.trials) == 2 * 2 * 2
    for trial in state.trials:
        rivals = [one for one in state.trials if (one.base, one.count) == (trial.base, trial.count)]
        assert sum(one.chosen for one in rivals) == 1
        if trial.chosen:
            assert trial.score == max(one.score for one in rivals if one.score is not None)
            label = f"{trial.base}/arithmetic/{trial.count} experts/seed 0/lambda={dict(trial.settings)['lambda']}"
            assert any(one.label == label for one in state.asked)
    reported = {
        json.loads(line)["suite"] for line in (config.out / "scores/records.jsonl").read_text().splitlines()
    }
    tuned = {
        json.loads(line)["suite"] for line in (config.out / "tuning/records.jsonl").read_text().splitlines()
    }
    assert reported == {"held-in", "held-out"} and tuned == {"validation"}


def test_a_changed_method_is_all_that_is_measured_again(files: Path) -> None:
    """After a change of one method's parameters only its merges are measured."""
    run(study(files))
    methods = {
        "averaging": {"merge_method": "linear"},
        "arithmetic": {"merge_method": "task_arithmetic", "tune": {"lambda": [0.3, 1.0]}},
        "dare": {"merge_method": "dare_ties", "parameters": {"density": 0.6}},
    }
    _, executor, _ = run(study(files, methods=methods))
    answers = [name for name in executor.ran if not name.startswith("check/")]
    assert answers and all("/dare/" in name for name in answers)


def test_what_is_missing_is_a_hole_with_its_reason(files: Path) -> None:
    """An expert that is not there costs the scores that need it; the others are measured, and it is said."""
    bases = [
        listed("weak", CATEGORIES, size="1M", quality="weak"),
        listed("strong", CATEGORIES[:2], size="1M"),
    ]
    bases[0]["experts"]["shape"] = "m/weak/nowhere"
    config = study(files, bases=bases)
    missing, _, _ = run(config)
    assert missing is not None and "nowhere" in missing.where and "names none" in missing.where
    scores = scores_of(config.out, read_state(config.out))
    holes = [score for score in scores if score.value is None]
    assert holes and all("shape" in score.subject.experts and score.why for score in holes)
    assert any(score.value is not None and score.subject.count == 2 for score in scores)
    assert "nowhere" in report_study(config.out).read_text()
    grid, lines = status_of(config.out)
    assert sum(int(row[4]) for row in grid.rows) == len(holes) and any("nowhere" in line for line in lines)


def test_a_stopped_study_goes_on(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured before a run was ended is not measured again, and a report can be had meanwhile."""
    config = study(files)

    class Ending(InlineExecutor):
        def run(self, units: Any) -> Any:
            for outcome in super().run(units):
                yield outcome
                if len(self.ran) > 40:
                    raise KeyboardInterrupt

    prepared = prepare(config, Setting(), print)
    with pytest.raises(KeyboardInterrupt):
        run_study(prepared, Running(Ending, print))
    assert "–" in report_study(config.out).read_text()
    _, executor, _ = run(config)
    whole = study(files, out="whole")
    _, fresh, _ = run(whole)
    assert 0 < len(executor.ran) < len(fresh.ran)
    values = [[score.value for score in scores_of(one.out, read_state(one.out))] for one in (config, whole)]
    assert values[0] == values[1]


def test_a_plan_counts_what_a_run_does(files: Path) -> None:
    """The plan's numbers of merges and scores are those of the run; afterwards all are there."""
    config = study(files)
    before = plan_study(config, Setting(), None)
    assert before.done == 0
    run(config)
    asked = read_state(config.out).asked
    merges = {one.label for one in asked if one.subject.kind == "merge"}
    assert sum(base.merges for base in before.bases) == len(merges)
    trials = read_state(config.out).trials
    assert sum(base.tuning_merges for base in before.bases) == len(trials)
    on_rows = sum(trial.count for trial in trials)
    assert sum(base.scores for base in before.bases) == len(asked) + on_rows
    assert plan_study(config, Setting(), None).done == len({one.key for one in asked})
    described = plan_study(config, Setting(), "nodes=2,gpus=4")
    assert (described.workers, described.device) == (8, "cuda")


def test_models_that_are_not_here_are_planned_by_their_written_size(files: Path) -> None:
    """A plan needs no models: it says what it takes them to be, and that what is there cannot be known."""
    config = study(
        files,
        bases=[listed("far", CATEGORIES, parameters=1e9)],
        tune=None,
        methods={"averaging": {"merge_method": "linear"}},
    )
    found = plan_study(config, Setting(), "nodes=1,gpus=8")
    assert found.bases[0].weights_bytes == 2_000_000_000 and found.done is None
    assert found.seconds > 0 and any("cannot be said" in note for note in found.notes)


def test_kept_merges_are_written(files: Path) -> None:
    """With `keep` every merge is a model directory under OUT/merged, of the digest that was scored."""
    config = study(
        files,
        keep=True,
        bases=[listed("weak", CATEGORIES, size="1M", quality="weak")],
        tune=None,
        methods={"averaging": {"merge_method": "linear"}},
        seeds=[0],
    )
    assert run(config)[0] is None
    kept = sorted(
        path.parent.relative_to(config.out) for path in config.out.rglob("mergescale_manifest.json")
    )
    assert [str(path) for path in kept] == [
        "merged/weak/averaging/2-experts/seed-0",
        "merged/weak/averaging/3-experts/seed-0",
    ]


def test_work_is_accounted_for(files: Path) -> None:
    """Loading, merging and scoring of every model is in the costs, with time, bytes and peak memory."""
    config = study(files)
    run(config)
    from evals.studies.state import cost_rows

    rows = cost_rows(config.out, read_state(config.out))
    assert {row["kind"] for row in rows} == {"load", "merge", "score"}
    assert all(row["size"] == "1M" and row["peak_bytes"] > 0 for row in rows)
    assert all(row["read_bytes"] > 0 for row in rows if row["kind"] != "score")


def test_a_study_that_was_not_begun_has_no_status(files: Path) -> None:
    """Status and report of nothing say so."""
    with pytest.raises(InputError, match="no study was begun"):
        status_of(study(files).out)
