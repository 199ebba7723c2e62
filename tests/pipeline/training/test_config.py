"""Training configs and settings: read strictly, errors that say where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config.place import Place
from pipeline.errors import ConfigError
from pipeline.training.config import load_train_config, parse_train_config
from pipeline.training.settings import TrainSettings, read_settings
from tests.helpers.training import write_config

ROOT = Path(__file__).parents[3]


_GPUS_HINT = "leave it out: every expert is trained on one GPU, several experts at once on several"
_DEVICE_HINT = "leave out deepspeed, or use device: auto"


def test_settings_of_an_expert_lie_over_the_common_ones(tmp_path: Path) -> None:
    """An expert has the common settings but for its own; its place is the output directory and its name."""
    config = load_train_config(write_config(tmp_path))
    even, odd = config.experts
    assert (even.settings.epochs, odd.settings.epochs) == (1, 2)
    assert even.settings.learning_rate == odd.settings.learning_rate == 0.01
    assert config.place(odd) == tmp_path / "experts" / "odd"


@pytest.mark.parametrize(
    ("changes", "where", "hint"),
    [
        ({"bases": "x"}, "bases", 'did you mean "base"?'),
        ({"settings": {"learning_rat": 1}}, "settings.learning_rat", 'did you mean "learning_rate"?'),
        ({"experts": {"a": {"train": "x", "trane": "y"}}}, "experts.a.trane", 'did you mean "train"?'),
        ({"experts": {"a": {"validation": "x"}}}, "experts.a.train", ""),
        ({"experts": {"a/b": {"train": "x"}}}, "experts.a/b", ""),
        ({"experts": {"..": {"train": "x"}}}, "experts...", ""),
        ({"experts": {}}, "experts", ""),
        ({"experts": ["a"]}, "experts", ""),
        ({"base": None}, "base", ""),
        ({"out": 3}, "out", "put it in quotes"),
        ({"experts": {"a": {"train": []}}}, "experts.a.train", ""),
        ({"experts": {"a": {"train": ["x", "y", "x"]}}}, "experts.a.train[2]", ""),
        ({"experts": {"a": {"train": ["x", 3]}}}, "experts.a.train[1]", "put it in quotes"),
        ({"settings": {"gpus": 2}}, "settings.gpus", _GPUS_HINT),
        ({"settings": {"deepspeed": "zero2", "device": "cpu"}}, "settings.deepspeed", _DEVICE_HINT),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, Any], where: str, hint: str) -> None:
    """A wrong or missing key is a ConfigError with the path in the file and the nearest known name."""
    path = write_config(tmp_path, **changes)
    with pytest.raises(ConfigError) as error:
        load_train_config(path)
    assert error.value.where == f"{path}: {where}"
    assert error.value.hint == hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0),
        ("learning_rate", -1e-5),
        ("learning_rate", "fast"),
        ("learning_rate", float("nan")),
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("batch_size", True),
        ("epochs", 0),
        ("limit", 0),
        ("warmup", 1.5),
        ("seed", -1),
        ("max_grad_norm", 0),
        ("max_length", 1),
        ("precision", "fp16"),
        ("precision", ["auto"]),
        ("device", "gpu"),
        ("max_steps", 0),
        ("save_every", 0.5),
        ("evaluate_every", "often"),
        ("accumulate", None),
        ("gradient_checkpointing", 1),
        ("deepspeed", 2),
        ("seed", 1 << 32),
    ],
)
def test_values_out_of_type_or_range_are_refused(name: str, value: object) -> None:
    """A setting of the wrong type or outside its range is a ConfigError at its place."""
    with pytest.raises(ConfigError) as error:
        read_settings({name: value}, Place("f", "settings"), TrainSettings())
    assert error.value.where == f"f: settings.{name}"


def test_good_values_are_taken() -> None:
    """Values in range are kept, whole numbers count as numbers, null lifts the limit."""
    raw = {"learning_rate": 1, "limit": None, "precision": "bfloat16", "seed": 7}
    got = read_settings(raw, Place("f"), TrainSettings(limit=3))
    assert got == TrainSettings(learning_rate=1.0, limit=None, precision="bfloat16", seed=7)
    assert read_settings(None, Place("f"), got) is got


def test_a_config_is_a_mapping_too(tmp_path: Path) -> None:
    """What a file says can be given as a mapping; data may be one file or a list of them."""
    content = {
        "base": "b",
        "out": "o",
        "experts": {"one": {"train": "t", "validation": "v"}, "all": {"train": ["t", "u"]}},
    }
    config = parse_train_config(content, "here")
    one, every = config.experts
    assert (one.train, one.validation) == ((Path("t"),), (Path("v"),))
    assert (every.train, every.validation) == ((Path("t"), Path("u")), ())
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert load_train_config(tmp_path / "c.yaml") == config
    with pytest.raises(ConfigError) as error:
        parse_train_config(content | {"base": 1}, "here")
    assert error.value.where == "here: base"


def test_the_demos_config_loads() -> None:
    """The training config in the repository reads, and its experts have validation data."""
    config = load_train_config(ROOT / "configs/demo/experts.yaml")
    assert len(config.experts) >= 4
    assert all(expert.validation for expert in config.experts)
