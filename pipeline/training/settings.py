"""What one training run is told: the hyper-parameters, checked. Knows nothing of files, models or torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline.config.place import Place, describe

PRECISIONS = ("auto", "float32", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class TrainSettings:
    """Hyper-parameters of full fine-tuning, and how it runs.

    One step reads `accumulate` batches of `batch_size` rows. It goes `epochs` times over the data, or
    `max_steps` steps, beginning again as often as needed. `limit`: the first N rows of each data file only.
    The learning rate rises over the first `warmup` share of the steps and then falls in a line to zero.
    `max_length`: tokens of prompt and answer together; a longer prompt loses its beginning.
    `precision` is that of the matrix products; the weights being trained are always fp32. "auto" takes
    bfloat16 where the hardware has instructions for it, float32 elsewhere. `device`: "auto" takes a GPU
    where there is one. `gradient_checkpointing` computes activations twice to hold fewer. `deepspeed`:
    zero1, zero2, zero3 or the path of a DeepSpeed JSON file; needs a GPU.
    `evaluate_every`: steps between looks at the validation data, the best of which is kept (None: the end
    only). `save_every`: steps between checkpoints to resume from (None: two minutes).
    """

    learning_rate: float = 5e-5
    batch_size: int = 16
    accumulate: int = 1
    epochs: int = 1
    max_steps: int | None = None
    limit: int | None = None
    warmup: float = 0.1
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int = 512
    seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    gradient_checkpointing: bool = False
    deepspeed: str | None = None
    evaluate_every: int | None = None
    save_every: int | None = None

    def steps(self, rows: int) -> int:
        """Optimiser steps of a run over so many rows. An epoch ends with a batch that may be smaller, the run
        with a step that may hold fewer batches.
        """
        batches = math.ceil(rows / self.batch_size) * self.epochs
        return self.max_steps or math.ceil(batches / self.accumulate)

    def as_dict(self) -> dict[str, Any]:
        """Field -> value, for JSON."""
        return asdict(self)


#: Field -> (smallest, largest) value; "above" marks a bound that is itself excluded.
_RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": (0.0, 1.0),
    "batch_size": (1, 1 << 20),
    "accumulate": (1, 1 << 20),
    "epochs": (1, 1 << 20),
    "max_steps": (1, 1 << 40),
    "limit": (1, 1 << 40),
    "warmup": (0.0, 1.0),
    "weight_decay": (0.0, 1.0),
    "max_grad_norm": (0.0, 1e9),
    "max_length": (2, 1 << 20),
    "seed": (0, (1 << 32) - 1),
    "evaluate_every": (1, 1 << 40),
    "save_every": (1, 1 << 40),
}
_POSITIVE = ("learning_rate", "max_grad_norm")
_REAL = ("learning_rate", "warmup", "weight_decay", "max_grad_norm")
_WORDS = {"precision": PRECISIONS, "device": DEVICES}
#: What to say to names that one could look for here.
_HINTS = {"gpus": "leave it out: every expert is trained on one GPU, several experts at once on several"}
_NAMES = [field.name for field in fields(TrainSettings)]
_OPTIONAL = [field.name for field in fields(TrainSettings) if field.default is None]


def read_settings(raw: object, place: Place, defaults: TrainSettings) -> TrainSettings:
    """`defaults` with the values of a mapping laid over them. ConfigError: unknown name, type or range."""
    if raw is None:
        return defaults
    mapping = place.mapping(raw, "settings by name")
    place.only(mapping, _NAMES, lambda name: _HINTS.get(name, ""))
    found = TrainSettings(
        **(defaults.as_dict() | {name: _checked(name, value, place) for name, value in mapping.items()})
    )
    if found.deepspeed is not None and found.device == "cpu":
        raise place.key("deepspeed").error(
            "DeepSpeed needs a GPU", found="device: cpu", hint="leave out deepspeed, or use device: auto"
        )
    return found


def _checked(name: str, value: object, place: Place) -> object:
    """The value of one setting, if it is of the right type and in range."""
    at = place.key(name)
    if value is None and name in _OPTIONAL:
        return value
    if name in _WORDS:
        if value not in _WORDS[name]:
            raise at.error(f"unknown {name}", expected=" or ".join(_WORDS[name]), found=describe(value))
        return value
    if name == "gradient_checkpointing":
        if not isinstance(value, bool):
            raise at.error("wrong type of value", expected="true or false", found=describe(value))
        return value
    if name == "deepspeed":
        return at.text(value, "zero1, zero2, zero3 or the path of a JSON file")
    return _number(name, value, at)


def _number(name: str, value: object, at: Place) -> int | float:
    """A number of the right kind inside its range."""
    low, high = _RANGES[name]
    whole = name not in _REAL
    if not isinstance(value, int | float) or isinstance(value, bool) or (whole and isinstance(value, float)):
        expected = "a whole number" if whole else "a number"
        raise at.error("wrong type of value", expected=expected, found=describe(value))
    number = value if whole else float(value)
    if not low <= number <= high or (name in _POSITIVE and number == 0):
        low_text = f"above {low:g}" if name in _POSITIVE else f"from {low:g}"
        raise at.error("value out of range", expected=f"{low_text} to {high:g}", found=describe(value))
    return number
