"""Training and evaluation ask the same question in the same words."""

from __future__ import annotations

from pathlib import Path

import pytest

from evals.harness import evaluate_model
from evals.setting import Setting
from evals.suites import load_suite, locate_data
from pipeline.training.expert import train_expert
from pipeline.training.settings import TrainSettings
from tests.helpers.tasks import write_suite
from tests.helpers.training import write_home

DEFINITION = Path(__file__).parents[3] / "configs/suites/tasks/choice.yaml"


def test_lm_eval_scores_an_expert_as_its_training_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lm-eval with the demo's definition finds the validation accuracy of the expert's record."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    home = write_home(tmp_path)
    settings = TrainSettings(learning_rate=0.01, batch_size=8, epochs=5, precision="float32")
    record = train_expert(
        home / "base",
        [home / "train.jsonl"],
        home / "expert",
        settings,
        validation=[home / "validation.jsonl"],
    )
    task = {"task": "last", "definition": str(DEFINITION), "metric": "acc", "chance": 0.5}
    data = {"data": {"test": str(home / "validation.jsonl")}}
    suite = locate_data(load_suite(write_suite(tmp_path / "s.yaml", {"words": [task | data]})))
    (expert,) = evaluate_model(home / "expert", suite.tasks, Setting())
    (base,) = evaluate_model(home / "base", suite.tasks, Setting())
    assert expert.value == pytest.approx(record["validation_score"], abs=1e-12)
    assert expert.value >= base.value + 0.3
