"""Tasks cut into parts: kept, put together, and answered again where they are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from cluster.contract import Outcome, Unit
from evals.content import Digests
from evals.fanout import evaluate, keys_of
from evals.harness import evaluate_model
from evals.setting import Setting
from evals.store import RecordStore
from evals.task import Task
from tests.helpers.evaluating import pairs, plain, run
from tests.helpers.inline import InlineExecutor


def test_parts_of_tasks_survive_an_interruption(
    own: Path, tasks: tuple[Task, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks cut into parts give the records of whole tasks; parts that were answered are not asked again."""
    monkeypatch.setattr("evals.running._LEAST_ITEMS", 1)
    setting = Setting(batch_size="2")
    asked = pairs([own / "base"], tasks)
    whole = [record for model, task in asked for record in evaluate_model(model, [task], setting)]

    class Cut(InlineExecutor):
        def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
            for outcome in super().run(units):
                if outcome.unit_id.endswith("shots, part 1 of 2"):
                    raise KeyboardInterrupt
                yield outcome

    with pytest.raises(KeyboardInterrupt):
        evaluate(asked, Cut, tmp_path / "out", setting)
    found, ran = run(asked, tmp_path / "out", setting)
    assert ran == ["base on toy/shots, part 1 of 2", "base on toy/shots, part 2 of 2", *(
        f"base on toy/{name}" for name in ("pick", "shots")
    )]  # fmt: skip
    assert plain(found.records) == plain(whole)
    assert not list((tmp_path / "out" / "parts").iterdir())


class Losing(InlineExecutor):
    """Calls `lose` when the last part of a task was answered, before the parts are put together."""

    def __init__(self, lose: Callable[[], object]) -> None:
        super().__init__()
        self.lose = lose

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        for outcome in super().run(units):
            yield outcome
            if outcome.unit_id.endswith("part 4 of 4"):
                self.lose()


@pytest.mark.parametrize("how", ["taken", "damaged", "scored"])
def test_parts_that_are_gone_cost_no_score(
    own: Path, tasks: tuple[Task, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Parts that another run took, or damaged ones, are answered again, or that run's score is served."""
    monkeypatch.setattr("evals.running._LEAST_ITEMS", 1)
    setting, asked = Setting(batch_size="2"), pairs([own / "base"], tasks[:1])
    whole = evaluate_model(asked[0][0], tasks[:1], setting)
    store = RecordStore(tmp_path / "out")
    (key,) = keys_of(asked, setting, Digests())

    def lose() -> None:
        if how == "scored":
            store.put(key, whole[0])
        if how == "damaged":
            next((tmp_path / "out" / "parts").iterdir()).write_text("{")
        else:
            store.drop_parts(key)

    executor = Losing(lose)
    found = evaluate(asked, lambda: executor, tmp_path / "out", setting)
    assert not found.failures and plain(found.records) == plain(whole)
    assert executor.ran[5:] == ([] if how == "scored" else ["base on toy/pick"])
    assert not list((tmp_path / "out" / "parts").iterdir())


def test_a_task_left_uncut_forgets_its_parts(
    own: Path, tasks: tuple[Task, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of an interrupted run are gone once the task was scored as a whole."""
    asked = pairs([own / "base"], tasks[:1])

    def stop() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("evals.running._LEAST_ITEMS", 1)
        evaluate(asked, lambda: Losing(stop), tmp_path / "out", Setting(batch_size="2"))
    assert list((tmp_path / "out" / "parts").iterdir())
    found, ran = run(asked, tmp_path / "out", Setting(batch_size="2"))
    assert ran == ["base on toy/pick"] and not found.failures
    assert not list((tmp_path / "out" / "parts").iterdir())
