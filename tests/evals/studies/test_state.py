"""What a study keeps on disk, damaged: read as if it were not there, or refused in words."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from evals.setting import Setting
from evals.studies.order import prepare
from evals.studies.plan import plan_study
from evals.studies.state import FAILURES, ORDER, earlier_trials, read_failures, read_state, scores_of
from evals.studies.status import status_of
from evals.studies.tables.values import Question, Subject
from evals.studies.tuning import Trial
from pipeline.errors import InputError, OutputError
from tests.helpers.study_models import one_base, small_study

ORDERED: dict[str, Any] = {
    "schema": 1,
    "facts": {
        "name": "small",
        "config": "name: small",
        "resamples": 20,
        "qualities": ["pt"],
        "methods": ["averaging"],
        "protocol": [["items", "all"]],
        "versions": {"torch": "2"},
    },
    "models": [["a base", "m/a", "0f"]],
    "subjects": [asdict(Subject("a", "1B", "pt", 9, "merge", "averaging", 2, 1, ("x", "y")))],
    "questions": [asdict(Question("held-in", "s", "c", "t", "acc", True, 0.5))],
    "scores": [[0, 0, "label", "0f", ""]],
    "tuning": [asdict(Trial("a", "averaging", 2, (("lambda", 0.3),), 0.9, True))],
}


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside of another."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*above, key)
        yield from places(value[key], (*above, key))


def with_value(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The order with another value at a place."""
    changed = json.loads(json.dumps(ORDERED))
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = copy.deepcopy(value)
    return changed


PLACES = list(places(json.loads(json.dumps(ORDERED))))


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_a_damaged_order_is_refused_in_words(tmp_path: Path, place: tuple[Any, ...]) -> None:
    """Whatever stands at any place of study.json, status and scores give a table or an InputError that says
    to run the study again, and a run finds either its tuning or none.
    """
    path = tmp_path / ORDER
    refused = 0
    for value in (None, -1, 10**9, True, float("inf"), "../x", [], [[]], {}, {"x": 1}):
        path.write_text(json.dumps(with_value(place, value)))
        try:
            scores_of(tmp_path, read_state(tmp_path))
            status_of(tmp_path)
        except InputError as error:
            refused += 1
            assert error.where == str(path) and "mergescale study run" in error.hint
            assert earlier_trials(tmp_path) == ()
    is_free = place[0] in ("facts", "models") or place[2:] == ("settings", 0, 1)
    assert refused or is_free, "a value of another type was read"


def test_an_order_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The order that the damaged ones are made of is a good one, and its tuning is found."""
    (tmp_path / ORDER).write_text(json.dumps(ORDERED))
    state = read_state(tmp_path)
    assert state.asked[0].subject.experts == ("x", "y") and earlier_trials(tmp_path) == state.trials != ()


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[1]", b"null", b"[" * 10_000])
def test_files_that_are_no_json_are_as_none(tmp_path: Path, raw: bytes) -> None:
    """A cut or scrambled study.json or failures.json costs what it said, never the command."""
    for name in (ORDER, FAILURES):
        (tmp_path / name).write_bytes(raw)
    assert earlier_trials(tmp_path) == () and read_failures(tmp_path) == {}
    with pytest.raises(InputError, match="damaged"):
        read_state(tmp_path)


def test_pipes_in_place_of_state_hang_nobody(tmp_path: Path) -> None:
    """Named pipes where the state should lie are as nothing."""
    for name in (ORDER, FAILURES):
        os.mkfifo(tmp_path / name)
    assert earlier_trials(tmp_path) == () and read_failures(tmp_path) == {}
    with pytest.raises(InputError, match="no study was begun"):
        read_state(tmp_path)


@pytest.mark.parametrize("out", ["m/weak/base", "m/weak/colour/results"])
def test_a_study_writes_into_no_model(files: Path, out: str) -> None:
    """A study whose folder is or lies in a model that it reads is refused, by a plan too; nothing changes."""
    methods = {"averaging": {"merge_method": "linear"}}
    config = small_study(files, bases=[one_base("weak")], methods=methods, tune=None, out=out)
    before = sorted(files.resolve().glob("m/**/*"))
    for look in (lambda: prepare(config, Setting(), print), lambda: plan_study(config, Setting(), None)):
        with pytest.raises(OutputError, match="overlaps an input model"):
            look()
    assert sorted(files.resolve().glob("m/**/*")) == before
