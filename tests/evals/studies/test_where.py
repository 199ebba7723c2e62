"""Where a study runs changes nothing that it says: one worker, two, and Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.contract import Executor
from cluster.local import LocalExecutor
from cluster.on_ray import RayExecutor
from evals.setting import Setting
from evals.studies.order import prepare
from evals.studies.run import Running, run_study
from evals.studies.state import read_state, scores_of
from evals.studies.tables.tables import make_tables
from evals.studies.tables.values import Score, Tables
from evals.studies.tuning import Trial
from tests.helpers.study_models import one_base, small_study, write_files, write_models


def run_at(
    folder: Path, name: str, start: Callable[[], Executor]
) -> tuple[list[Score], tuple[Trial, ...], Tables]:
    """(scores, what was tuned, tables) of a small tuned study of one base, run whole where `start` says."""
    config = small_study(folder, out=name, bases=[one_base("weak")], seeds=[0], compare=["experts"])
    assert run_study(prepare(config, Setting(), print), Running(start, print)) is None
    state = read_state(config.out)
    scores = scores_of(config.out, state)
    tables = make_tables(scores, [], qualities=state.facts["qualities"], resamples=config.resamples)
    return scores, state.trials, tables


@pytest.mark.slow
@pytest.mark.timeout(900)  # an embedded Ray alone may take minutes to start on a busy machine
def test_workers_and_ray_give_the_same_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One local worker, two, and an embedded Ray give the same scores, choices and tables, bit for bit."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path, write_models(tmp_path / "models"))
    one = run_at(tmp_path, "one", lambda: LocalExecutor(1, kind="process"))
    assert one[0] and all(score.value is not None for score in one[0])
    assert run_at(tmp_path, "two", lambda: LocalExecutor(2, kind="process")) == one
    assert run_at(tmp_path, "ray", lambda: RayExecutor(workers=2)) == one
