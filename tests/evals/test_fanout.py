"""The fan-out: measured once, served only unchanged, and one failure costs one score."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.contract import Outcome, Unit
from cluster.local import LocalExecutor
from cluster.on_ray import RayExecutor
from evals.fanout import evaluate
from evals.record import read_jsonl, read_parquet
from evals.request import make_request
from evals.setting import Setting
from evals.store import RecordStore
from evals.suites import Suite, load_suite, locate_data
from evals.task import Task
from pipeline.errors import InputError, OutputError
from tests.helpers.evaluating import CHECK, pairs, plain, run
from tests.helpers.inline import InlineExecutor
from tests.helpers.merging import write_config
from tests.helpers.models import write_model
from tests.helpers.tasks import choice_rows, choice_task, write_rows, write_suite


def test_a_second_run_measures_nothing(own: Path, tasks: tuple[Task, ...], tmp_path: Path) -> None:
    """Every pair gives one record, in order; asked again, the same records come and nothing runs."""
    asked = pairs([own / "base", own / "expert"], tasks)
    first, ran = run(asked, tmp_path / "out")
    assert len(ran) == 4 and first.reused == 0 and not first.failures
    assert [(one.label, one.task) for one in first.records] == [
        ("base", "pick"), ("base", "shots"), ("expert", "pick"), ("expert", "shots"),
    ]  # fmt: skip
    again = evaluate(asked, lambda: pytest.fail("started"), tmp_path / "out", Setting(limit=6))
    assert again.records == first.records and again.reused == 4
    assert read_jsonl(tmp_path / "out" / "records.jsonl") == list(first.records)
    assert read_parquet(tmp_path / "out" / "records.parquet") == list(first.records)


def test_only_what_changed_is_measured_again(own: Path, tasks: tuple[Task, ...], tmp_path: Path) -> None:
    """New weights run that model only, new rows that task only, another limit everything."""
    write_suite(own / "one.yaml", {"choice": [choice_task("alone", data={"test": "data/test.jsonl"})]})
    both = [tasks[0], *locate_data(load_suite(own / "one.yaml")).tasks]
    models, out = [own / "base", own / "expert"], tmp_path / "out"
    first, _ = run(pairs(models, both), out)
    write_rows(own / "data" / "train.jsonl", choice_rows(10, seed=7))
    found, ran = run(pairs(models, both), out)
    assert len(ran) == 2 and found.reused == 2, "one of the two tasks has these rows among its data"
    assert [one.task for one in found.records if one not in first.records] == ["pick", "pick"]
    shutil.copyfile(own / "base" / "model.safetensors", own / "expert" / "model.safetensors")
    found, ran = run(pairs(models, both), out)
    assert ran == [], "the expert now is the base, whose scores are known"
    assert [one.items for one in found.records[:2]] == [one.items for one in found.records[2:]]
    write_model(own / "expert", seed=9, base=own / "base")
    assert len(run(pairs(models, both), out)[1]) == 2
    assert len(run(pairs(models[:1], both), out, Setting(limit=5))[1]) == 2


def test_a_moved_model_keeps_its_scores_under_its_new_name(
    own: Path, tasks: tuple[Task, ...], tmp_path: Path
) -> None:
    """Names are no part of a score: a copied model, or a task in another suite, is served and named anew."""
    first, _ = run(pairs([own / "base"], tasks[:1]), tmp_path / "out")
    shutil.copytree(own / "base", own / "renamed")
    task = replace(tasks[0], suite="another", category="else", name="called", role="held-out", chance=0.5)
    found, ran = run(pairs([own / "renamed"], [task]), tmp_path / "out")
    assert ran == []
    one = found.records[0]
    assert (one.label, one.model) == ("renamed", str(own / "renamed"))
    assert (one.suite, one.category, one.task, one.role, one.chance) == (
        "another", "else", "called", "held-out", 0.5,
    )  # fmt: skip
    assert one.items == first.records[0].items


def test_models_of_one_name_each_have_their_score(own: Path, tasks: tuple[Task, ...], tmp_path: Path) -> None:
    """Two models that people call the same are two units of work: neither score is lost."""
    shutil.copytree(own / "expert", own / "other" / "base")
    found, ran = run(pairs([own / "base", own / "other" / "base"], tasks[:1]), tmp_path / "out", Setting())
    assert len(set(ran)) == 2 and not found.failures
    assert [one.model for one in found.records] == [str(own / "base"), str(own / "other" / "base")]
    assert found.records[0].items != found.records[1].items


def test_one_question_asked_twice_runs_once(own: Path, tasks: tuple[Task, ...], tmp_path: Path) -> None:
    """The same model and task under two names is one unit of work and two records."""
    asked = pairs([own / "base"], [tasks[0], replace(tasks[0], name="twin")])
    found, ran = run(asked, tmp_path / "out")
    assert len(ran) == 1
    assert [one.task for one in found.records] == ["pick", "twin"]


def test_a_failure_is_named_and_the_others_finish(own: Path, tasks: tuple[Task, ...], tmp_path: Path) -> None:
    """A model that cannot be loaded loses its own scores only; the next run tries only those again."""
    weights = own / "expert" / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(b"\xff" * len(good))
    asked = pairs([own / "expert", own / "base"], tasks[:1])
    found, ran = run(asked, tmp_path / "out")
    assert len(ran) == 2
    assert [one.label for one in found.records] == ["base"]
    (failure,) = found.failures
    assert (failure.label, failure.suite, failure.task) == ("expert", "toy", "pick")
    assert failure.reason
    assert len(run(asked, tmp_path / "out")[1]) == 1
    weights.write_bytes(good)
    found, ran = run(pairs([own / "expert", own / "base"], tasks[:1]), tmp_path / "out")
    assert len(ran) == 1 and not found.failures and len(found.records) == 2


def test_a_reason_keeps_the_fields_of_its_error(own: Path, tasks: tuple[Task, ...], tmp_path: Path) -> None:
    """Why a model was not scored is one line with every field of our error, and no name of a Python class."""
    for file in own.glob("base/*token*"):
        file.unlink()
    found, _ = run(pairs([own / "base"], tasks[:1]), tmp_path / "out")
    assert found.failures[0].reason.split("; ") == [
        "the model has no tokenizer that can be read",
        f"where: {own / 'base'}",
        "expected: tokenizer.json or another tokenizer file beside the weights",
        "found: no file that holds a tokenizer",
        "hint: copy the tokenizer files of its base model into the directory",
    ]


class Cut(InlineExecutor):
    """Stops dead after the check and a number of units, as a killed run does."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        for number, outcome in enumerate(super().run(units)):
            if not outcome.unit_id.startswith(CHECK) and number >= self.after:
                raise KeyboardInterrupt
            yield outcome


def test_an_interrupted_run_is_continued(own: Path, tasks: tuple[Task, ...], tmp_path: Path) -> None:
    """What was finished when a run was cut off is kept: the same command does the rest only."""
    asked = pairs([own / "base", own / "expert"], tasks)
    with pytest.raises(KeyboardInterrupt):
        evaluate(asked, lambda: Cut(after=3), tmp_path / "out", Setting(limit=6))
    assert (tmp_path / "out" / "digests.json").is_file(), "weights that were read need not be read again"
    found, ran = run(asked, tmp_path / "out")
    assert len(ran) == 1 and len(found.records) == 4 and found.reused == 3


def test_a_folder_that_takes_no_scores_is_refused_at_once(
    own: Path, tasks: tuple[Task, ...], tmp_path: Path
) -> None:
    """Where records cannot be written nothing starts: an InputError names the folder."""
    (tmp_path / "file").write_text("")
    asked = pairs([own / "base"], tasks)
    with pytest.raises(InputError, match="cannot be kept") as caught:
        evaluate(asked, lambda: pytest.fail("started"), tmp_path / "file", Setting())
    assert caught.value.where == str(tmp_path / "file")


def test_a_wrong_task_costs_its_own_scores_only(own: Path, tasks: tuple[Task, ...], tmp_path: Path) -> None:
    """A task that lm-eval refuses, or that has no documents, is a failure that says so; the others finish."""
    write_rows(own / "data" / "none.jsonl", [])
    entries = [
        choice_task("bad", data={"test": "data/test.jsonl"}, override={"doc_to_target": "{{gone.deep}}"}),
        choice_task("empty", data={"test": "data/none.jsonl"}),
    ]
    suite: Suite = locate_data(load_suite(write_suite(own / "bad.yaml", {"choice": entries})))
    found, ran = run(pairs([own / "base"], [*suite.tasks, tasks[0]]), tmp_path / "out")
    assert len(ran) == 1 and [one.task for one in found.records] == ["pick"]
    assert [one.task for one in found.failures] == ["bad", "empty"]
    assert "lm-eval cannot load" in found.failures[0].reason and "gone" in found.failures[0].reason
    assert "none.jsonl" in found.failures[1].reason


def test_worker_processes_give_the_same_records(own: Path, tasks: tuple[Task, ...], tmp_path: Path) -> None:
    """A spawned worker gives the very records that this process gives, but for the time they took."""
    asked = pairs([own / "base"], tasks)
    here, _ = run(asked, tmp_path / "here")
    there = evaluate(asked, lambda: LocalExecutor(1, kind="process"), tmp_path / "there", Setting(limit=6))
    assert plain(there.records) == plain(here.records)
    assert not there.failures


@pytest.mark.slow
def test_ray_gives_the_same_records(own: Path, tasks: tuple[Task, ...], tmp_path: Path) -> None:
    """An embedded Ray gives the very records that this process gives, but for the time they took."""
    asked = pairs([own / "base", own / "expert"], tasks)
    here, _ = run(asked, tmp_path / "here")
    there = evaluate(asked, lambda: RayExecutor(workers=2), tmp_path / "there", Setting(limit=6))
    assert plain(there.records) == plain(here.records)
    assert not there.failures


@pytest.mark.parametrize("out", ["base", "base/scores"])
def test_scores_stay_out_of_every_model_that_is_read(own: Path, out: str) -> None:
    """Scores in a model's directory would change the model: refused, for a merge's inputs too."""
    config = write_config(own / "merge.json", "task_arithmetic", own / "base", [own / "expert"])
    before = sorted((own / "base").rglob("*"))
    for model in (own / "base", config):
        request = make_request([model], [own / "toy.yaml"], tasks=["pick"])
        with pytest.raises(OutputError, match="overlaps an input model"):
            evaluate(request.pairs, InlineExecutor, own / out, Setting(limit=2))
    assert sorted((own / "base").rglob("*")) == before


def test_a_record_of_another_model_or_task_is_not_served(own: Path, tmp_path: Path) -> None:
    """A record under the right key that says it is of another model, or task, is measured anew."""
    request = make_request([own / "base"], [own / "toy.yaml"], tasks=["pick"])
    setting = Setting(limit=2)
    (first,) = evaluate(request.pairs, InlineExecutor, tmp_path, setting).records
    store = RecordStore(tmp_path)
    (key,) = (path.stem for path in store.files())
    for change in ({"model_digest": "0" * 32}, {"task_digest": "0" * 32}):
        store.put(key, replace(first, value=0.99, **change))
        again = evaluate(request.pairs, InlineExecutor, tmp_path, setting)
        assert again.reused == 0 and again.records[0].value == first.value
    assert evaluate(request.pairs, InlineExecutor, tmp_path, setting).reused == 1
