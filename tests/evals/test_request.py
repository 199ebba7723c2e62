"""Requests: what is scored on what, under which names, and what is refused before anything runs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from evals.request import Request, make_request
from pipeline.errors import CheckpointError, ConfigError, InputError
from tests.helpers.bucket import Bucket
from tests.helpers.models import write_model
from tests.helpers.tasks import choice_rows, choice_task, write_rows, write_suite


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Three models, data, and a held-in suite of two categories and a held-out suite of one."""
    for seed, name in enumerate(("base", "one/expert", "two/expert")):
        write_model(tmp_path / name, seed=seed)
    for name in ("test", "train"):
        write_rows(tmp_path / "data" / f"{name}.jsonl", choice_rows(3))
    write_suite(tmp_path / "in.yaml", {"a": [choice_task("a1"), choice_task("a2")], "b": [choice_task("b1")]})
    write_suite(tmp_path / "out.yaml", {"c": [choice_task("c1")]}, role="held-out")
    return tmp_path


def request(place: Path, *models: str, **options: object) -> Request:
    """A request for both suites."""
    suites = [place / "in.yaml", place / "out.yaml"]
    return make_request([place / name for name in models], suites, **options)  # type: ignore[arg-type]


def asked(found: Request) -> dict[str, list[str]]:
    """Label -> the tasks it is scored on."""
    labels = dict.fromkeys(model.label for model, _ in found.pairs)
    return {label: [task.name for model, task in found.pairs if model.label == label] for label in labels}


def test_an_expert_is_scored_on_its_own_category(place: Path) -> None:
    """Models and the base are scored on every task, an expert named as reference only on its category's."""
    found = request(
        place,
        "one/expert",
        base=place / "base",
        experts={"b": place / "two/expert", "a": place / "one/expert"},
    )
    everything = ["a1", "a2", "b1", "c1"]
    assert asked(found) == {"one/expert": everything, "base": everything, "two/expert": ["b1"]}
    assert found.base == "base"
    assert found.expert_labels == {"a": "one/expert", "b": "two/expert"}


def test_a_model_named_twice_is_one_model(place: Path) -> None:
    """The same directory as model, base and expert, however spelled, is one model with one label."""
    found = request(place, "base", "one/../base", base=place / "base", experts={"a": place / "base"})
    assert asked(found) == {"base": ["a1", "a2", "b1", "c1"]}


def test_labels_tell_models_apart(place: Path) -> None:
    """A label is the directory's name, with as many parents as it takes to be unique."""
    shutil.copytree(place / "one", place / "deep" / "one")
    found = request(place, "base", "one/expert", "two/expert", "deep/one/expert")
    labels = [model.label for model in found.models]
    assert labels[0] == "base" and labels[2] == "two/expert" and labels[3] == "deep/one/expert"
    assert len(set(labels)) == 4 and labels[1].endswith("one/expert")


def test_categories_of_a_merge_are_those_of_its_experts(place: Path) -> None:
    """Where a model says what it was merged from, the categories of those experts count and no others."""
    experts = {"a": place / "one/expert", "b": place / "two/expert"}
    found = request(place, "base", experts=experts)
    assert found.counted() == {}, "a model that does not say is not restricted"
    merged = replace(found.models[0], inputs=(str(place / "two/expert"),))
    assert replace(found, models=(merged,)).counted() == {"base": {"b"}}
    strange = replace(found.models[0], inputs=("/somewhere/else",))
    assert replace(found, models=(strange,)).counted() == {}


def test_named_tasks_are_all_that_is_scored(place: Path) -> None:
    """With task names only those tasks are scored, and suites without any of them are left out."""
    found = request(place, "base", tasks=["b1", "a2"])
    assert asked(found) == {"base": ["a2", "b1"]} and [suite.name for suite in found.suites] == ["in"]
    one = request(place, "base", tasks=["b1"], experts={"a": place / "one/expert"})
    assert asked(one) == {"base": ["b1"]}, "an expert of a category that is not asked about now is no mistake"
    with pytest.raises(InputError) as caught:
        request(place, "base", tasks=["b2"])
    assert "b1" in caught.value.hint


def test_tasks_without_data_are_named_in_the_suites(place: Path) -> None:
    """With `skip_missing` the rest is scored, and the request's suites say what was left out."""
    entries = [choice_task("c1"), choice_task("c2", data={"test": "data/gone.jsonl"})]
    write_suite(place / "out.yaml", {"c": entries}, role="held-out")
    with pytest.raises(InputError):
        request(place, "base")
    found = request(place, "base", skip_missing=True)
    assert asked(found) == {"base": ["a1", "a2", "b1", "c1"]}
    assert [one.task for suite in found.suites for one in suite.left_out] == ["c2"]


def test_an_unknown_category_is_refused_with_the_nearest(place: Path) -> None:
    """An expert of a category that no held-in suite has is an InputError; held-out ones do not count."""
    for category in ("aa", "c"):
        with pytest.raises(InputError) as caught:
            request(place, "base", experts={category: place / "base"})
        assert category in caught.value.what
        assert "a" in caught.value.hint


def test_what_is_not_there_is_refused(place: Path) -> None:
    """A missing model, missing data and two suites of one name are each their own error."""
    with pytest.raises(CheckpointError):
        request(place, "no/such/model")
    with pytest.raises(CheckpointError):
        request(place, "base", base=place / "gone")
    with pytest.raises(InputError):
        request(place, "base", data_dir=place / "one")
    with pytest.raises(ConfigError) as caught:
        make_request([place / "base"], [place / "in.yaml", place / "in.yaml"])
    assert "in" in caught.value.what


def test_a_model_may_lie_in_a_bucket(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is elsewhere is fetched, has the digest of the same files here, and the name it was given."""
    with Bucket("models", place) as bucket:
        for name, value in bucket.variables(tmp_path / "cache").items():
            monkeypatch.setenv(name, value)
        found = make_request(["s3://models/base"], [place / "in.yaml"])
    assert [model.label for model in found.models] == ["base"]
    assert found.models[0].digest == request(place, "base").models[0].digest


def test_what_was_given_in_another_s_place_is_recognised(place: Path) -> None:
    """A suite as a model, a merge config as a suite, another file as a model: each is called by its name."""
    config = {
        "merge_method": "linear",
        "models": [{"model": str(place / "base"), "parameters": {"weight": 1}}],
    }
    for name in ("merge.json", "merge.txt"):
        (place / name).write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="suite of tasks, not a merge config") as caught:
        request(place, "in.yaml")
    assert caught.value.where == str(place / "in.yaml") and "--suite" in caught.value.hint
    with pytest.raises(ConfigError, match="merge config, not a suite") as caught:
        make_request([place / "base"], [place / "merge.json"])
    assert caught.value.where == str(place / "merge.json") and "MODEL" in caught.value.hint
    with pytest.raises(CheckpointError, match="file is no model") as refused:
        request(place, "merge.txt")
    assert refused.value.where == str(place / "merge.txt") and ".yaml" in refused.value.expected


def test_a_data_directory_that_is_not_there_is_named(place: Path) -> None:
    """A wrong --data is an InputError about the directory, not about the files that it should hold."""
    with pytest.raises(InputError, match="directory is not there") as caught:
        request(place, "base", data_dir=place / "nowhere")
    assert caught.value.where == str(place / "nowhere")
