"""DeepSpeed as a setting: what is shipped, what is refused and when. Nothing here needs DeepSpeed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from pipeline.errors import CheckpointError, InputError
from pipeline.training.config import load_train_config
from pipeline.training.identity import expert_identity
from pipeline.training.run import plan_training
from pipeline.training.settings import TrainSettings
from pipeline.training.zero import named_config, require_deepspeed, zero_config
from tests.helpers.training import write_config, write_home

SHIPPED = Path(__file__).parents[3] / "configs/deepspeed"


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_name_is_a_stage(stage: int) -> None:
    """zero1 to zero3 give that stage, with the sizes left to the Trainer."""
    config = zero_config(f"zero{stage}")
    assert config is not None
    assert config["zero_optimization"]["stage"] == stage
    assert config["train_micro_batch_size_per_gpu"] == config["gradient_clipping"] == "auto"


def test_the_shipped_files_are_what_the_names_mean() -> None:
    """A file of ours, given by its path, is the same config as its name; no setting is no config."""
    files = sorted(SHIPPED.glob("*.json"))
    assert [file.stem for file in files] == ["zero2", "zero3"]
    for file in files:
        assert zero_config(str(file)) == zero_config(file.stem)
    assert zero_config(None) is None


def test_a_path_is_made_absolute_for_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names stay, paths no longer depend on the current directory."""
    monkeypatch.chdir(tmp_path)
    assert named_config("mine.json") == str(tmp_path / "mine.json")
    assert (named_config("zero2"), named_config(None)) == ("zero2", None)


def test_a_missing_file_is_told_before_anything_starts(tmp_path: Path) -> None:
    """Planning reads the DeepSpeed config of every expert."""
    settings = {"deepspeed": str(tmp_path / "nowhere.json")}
    with pytest.raises(CheckpointError):
        plan_training(load_train_config(write_config(write_home(tmp_path), settings=settings)))


def test_what_the_file_says_decides_an_expert_and_not_its_place(tmp_path: Path) -> None:
    """Two files with the same content are the same expert, another content is another one."""
    found = []
    for name, buckets in (("a", 1), ("b", 1), ("c", 2)):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps({"zero_optimization": {"stage": buckets}}))
        found.append(expert_identity(tmp_path, "d", [], TrainSettings(deepspeed=str(file)), [], 2))
    assert found[0] == found[1] != found[2]


def test_without_a_gpu_or_the_package_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU, or no deepspeed, is an input error with a way out; not asked for, nothing is looked at."""
    with pytest.raises(InputError, match="needs a GPU"):
        require_deepspeed("zero2", "cpu")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError) as error:
        require_deepspeed("zero2", "cuda")
    assert "mergescale[gpu]" in error.value.hint
    require_deepspeed(None, "cpu")
