"""Many experts: everything checked first, finished ones kept, one failure does not stop the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.contract import Fault, Outcome, Unit
from cluster.progress import Progress
from pipeline.checkpoint.index import read_directory
from pipeline.errors import CheckpointError, InputError, OutputError, UnitError
from pipeline.training import watch
from pipeline.training.config import load_train_config
from pipeline.training.curves import CURVE
from pipeline.training.examples import Example
from pipeline.training.identity import RECORD
from pipeline.training.memory import memory_bytes
from pipeline.training.run import plan_training, run_training
from pipeline.training.settings import TrainSettings
from pipeline.training.steplog import LOG, Step, progress_file
from pipeline.values import ModelRef
from tests.helpers.inline import InlineExecutor
from tests.helpers.training import write_config, write_home


def test_all_experts_are_trained_and_then_kept(tmp_path: Path) -> None:
    """The first run trains every expert, the second plans nothing and has the same records."""
    config = load_train_config(write_config(write_home(tmp_path)))
    first = run_training(plan_training(config), InlineExecutor(), show_progress=False)
    assert list(first) == ["even", "odd"]
    again = plan_training(config)
    assert (dict(again.units), dict(again.records)) == ({}, first)
    assert {entry.name for entry in (tmp_path / "experts").iterdir()} == {"even", "odd", CURVE}


def test_what_is_missing_is_trained(tmp_path: Path) -> None:
    """After one expert was lost, only that one is planned; steps are counted for all."""
    config = load_train_config(write_config(write_home(tmp_path)))
    run_training(plan_training(config), InlineExecutor(), show_progress=False)
    (tmp_path / "experts" / "odd").rename(tmp_path / "elsewhere")
    plan = plan_training(config)
    assert list(plan.units) == ["odd"]
    assert dict(plan.steps) == {"even": 8, "odd": 16}


@pytest.mark.parametrize("broken", ["base", "train", "validation", "place"])
def test_nothing_is_written_when_any_input_is_wrong(tmp_path: Path, broken: str) -> None:
    """A wrong base, data file or output directory of any expert is told before the first one starts."""
    home = write_home(tmp_path)
    data = {"train": str(home / "train.jsonl")}
    odd = {**data, broken: str(home / "nowhere.jsonl")} if broken in ("train", "validation") else data
    changes: dict[str, Any] = {"experts": {"even": data, "odd": odd}}
    if broken == "base":
        changes["base"] = str(home / "nowhere")
    if broken == "place":
        (home / "experts/odd").mkdir(parents=True)
        (home / "experts/odd/notes.txt").write_text("mine")
    with pytest.raises((InputError, CheckpointError, OutputError)):
        plan_training(load_train_config(write_config(home, **changes)))
    assert not (home / "experts" / "even").exists()


def test_a_base_whose_files_cannot_go_along_is_refused_before_training(tmp_path: Path) -> None:
    """A broken link beside the weights, which every expert would need at its end, is told at the start."""
    home = write_home(tmp_path)
    (home / "base/vocab.txt").symlink_to(home / "nowhere.txt")
    with pytest.raises(CheckpointError) as caught:
        plan_training(load_train_config(write_config(home)))
    assert "vocab.txt" in str(caught.value.where) and not (home / "experts").exists()


def test_the_curves_of_all_experts_are_drawn_together(tmp_path: Path) -> None:
    """One picture beside the experts names each of them; each has its own."""
    config = load_train_config(write_config(write_home(tmp_path)))
    run_training(plan_training(config), InlineExecutor(), show_progress=False)
    both = (tmp_path / "experts" / CURVE).read_text()
    assert "<!-- even -->" in both
    assert "<!-- odd -->" in both
    assert "<!-- odd -->" not in (tmp_path / "experts/even" / CURVE).read_text()


def test_only_ray_hands_out_gpus(tmp_path: Path) -> None:
    """An expert for a GPU asks Ray for one; local workers share the one they see."""
    settings = {"device": "cuda", "precision": "bfloat16"}
    plan = plan_training(load_train_config(write_config(write_home(tmp_path), settings=settings)))
    (unit, _) = plan.units.values()
    assert (unit.resources.gpus, unit.payload["device"]) == (1.0, "cuda")
    executor = InlineExecutor()
    assert watch.placed(unit, executor).resources.gpus == 0
    executor.name = "ray"
    assert watch.placed(unit, executor).resources.gpus == 1


def test_where_auto_trains_is_the_plan_s_to_say(tmp_path: Path) -> None:
    """An expert whose settings say "auto" goes where the plan is told, without becoming another expert."""
    config = load_train_config(write_config(write_home(tmp_path)))
    run_training(plan_training(config, "cpu"), InlineExecutor(), show_progress=False)
    (tmp_path / "experts/odd").rename(tmp_path / "elsewhere")
    plan = plan_training(config, "cuda")
    assert list(plan.records) == ["even"]
    (unit,) = plan.units.values()
    assert (unit.payload["device"], unit.resources.gpus) == ("cuda", 1.0)


def test_memory_grows_with_the_longest_batch(tmp_path: Path) -> None:
    """The estimate counts parameters and the tokens of the largest batch, up to max_length."""
    base = read_directory(ModelRef(""), write_home(tmp_path) / "base")
    short, long = ([Example("a" * length, ("b",))] * 4 for length in (29, 299))
    settings = TrainSettings(batch_size=2)
    one, two = (memory_bytes(base, rows, settings) for rows in (short, long))
    assert two - one == 80 * 32 * 2 * 2 * 90
    assert memory_bytes(base, short + long, settings) == two
    assert memory_bytes(base, long, TrainSettings(batch_size=2, max_length=10)) == one
    assert memory_bytes(base, long, settings, "cuda") == memory_bytes(base, short, settings, "cuda")


class Failing(InlineExecutor):
    """Fails the first unit with the given exception and runs the others."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        """One fault, then the outcomes of the rest."""
        first, *rest = units
        yield Outcome(first.id, None, Fault("program", str(self.error), "", self.error), 1, 0.0, "here")
        yield from super().run(rest)


def test_the_others_are_trained_when_one_fails(tmp_path: Path) -> None:
    """One expert's failure is raised at the end, with its name; the others are kept."""
    config = load_train_config(write_config(write_home(tmp_path)))
    with pytest.raises(UnitError, match=r"could not be trained\n.* even: 'x'"):
        run_training(plan_training(config), Failing(KeyError("x")), show_progress=False)
    assert (tmp_path / "experts/odd" / RECORD).is_file()
    assert list(plan_training(config).units) == ["even"]


def test_every_expert_that_fails_is_named_with_its_row(tmp_path: Path) -> None:
    """An answer too long for its sequence is told with expert, file and line, of each that has one."""
    home = write_home(tmp_path)
    for name in ("train", "validation"):
        with (home / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps({"question": "w5", "choices": ["w10", "w11 w12 w13 w14 w15"], "label": 0}))
    long = {"question": "w5", "answer": "w6 w7 w8 w9 w10 w11"}
    (home / "long.jsonl").write_text(json.dumps({"question": "w5", "answer": "w6"}) + "\n" + json.dumps(long))
    experts = {
        "first": {"train": str(home / "long.jsonl")},
        "second": {"train": str(home / "train.jsonl"), "validation": str(home / "validation.jsonl")},
    }
    config = load_train_config(write_config(home, settings={"max_length": 4}, experts=experts))
    with pytest.raises(UnitError) as error:
        run_training(plan_training(config), InlineExecutor(), show_progress=False)
    first, second = error.value.where.splitlines()
    assert first.startswith("first: an answer is longer") and f"{home / 'long.jsonl'}, line 2;" in first
    assert second.strip().startswith("second: ") and f"{home / 'validation.jsonl'}, line 21;" in second
    assert "raise max_length" in first


class Reporting(InlineExecutor):
    """Writes three steps of a unit, waits until they were looked at, and gives a record."""

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        """One outcome a unit without any training."""
        record = {"first_loss": 2.0, "last_loss": 1.0, "train_s": 3.0}
        for unit in units:
            step = json.dumps(Step(3, 8, 1.0, 1.0, 0.1, 5, 0.1).__dict__) + "\n"
            file = progress_file(Path(unit.payload["out"]))
            Path(unit.payload["out"]).mkdir(parents=True)
            (Path(unit.payload["out"]) / LOG).write_text(step)
            file.parent.mkdir(exist_ok=True)
            assert not file.exists()
            file.write_text(step)
            while unit.id == "train/even" and not self.seen.exists():
                pass
            yield Outcome(unit.id, record, None, 1, 0.0, "here")

    seen: Path


def test_steps_are_shown_while_an_expert_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps that a worker wrote count before its outcome comes, never twice, and an old run's never."""
    config = load_train_config(write_config(write_home(tmp_path)))
    plan = plan_training(config)
    progress_file(tmp_path / "experts/even").parent.mkdir()
    progress_file(tmp_path / "experts/even").write_text("left by an interrupted run")
    amounts: list[int] = []
    advance = Progress.advance

    def spy(self: Progress, amount: int, units: int = 1) -> None:
        amounts.append(amount)
        advance(self, amount, units)
        (tmp_path / "seen").touch()

    monkeypatch.setattr(Progress, "advance", spy)
    monkeypatch.setattr(watch, "_LOOK_EVERY_S", 0.01)
    executor = Reporting()
    executor.seen = tmp_path / "seen"
    run_training(plan, executor)
    assert amounts[0] == 3
    assert sum(amounts) == 24
    assert "even: loss 2.00 -> 1.00 in 3 s" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["base", "base/experts", "link"])
def test_experts_stay_out_of_their_base(tmp_path: Path, out: str) -> None:
    """An output in the base's own directory is refused, whatever link leads there: it would change it."""
    home = write_home(tmp_path)
    (tmp_path / "link").symlink_to(home / "base")
    before = sorted((home / "base").rglob("*"))
    with pytest.raises(OutputError, match="overlaps an input model"):
        plan_training(load_train_config(write_config(home, out=str(home / out))))
    assert sorted((home / "base").rglob("*")) == before
    plan_training(load_train_config(write_config(home, out=str(home))))  # beside the base
