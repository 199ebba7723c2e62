"""What one training run is told: the hyper-parameters, checked. Knows nothing of files, models or torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline.config.place import Place, describe

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class TrainSettings:
    """Hyper-parameters of full fine-tuning.

    The learning rate rises over the first `warmup` share of the steps and then falls in a line to zero.
    `limit`: the first N rows of the data only.  `max_length`: tokens of prompt and answer together.
    `precision` is that of the matrix products; the weights being trained are always fp32. "auto" takes
    bfloat16 where the processor has instructions for it, float32 elsewhere.
    """

    learning_rate: float = 5e-5
    batch_size: int = 16
    epochs: int = 1
    limit: int | None = None
    warmup: float = 0.1
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int = 512
    seed: int = 0
    precision: str = "auto"

    def as_dict(self) -> dict[str, Any]:
        """Field -> value, for JSON."""
        return asdict(self)


#: Field -> (smallest, largest) value; "above" marks a bound that is itself excluded.
_RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": (0.0, 1.0),
    "batch_size": (1, 1 << 20),
    "epochs": (1, 1 << 20),
    "limit": (1, 1 << 40),
    "warmup": (0.0, 1.0),
    "weight_decay": (0.0, 1.0),
    "max_grad_norm": (0.0, 1e9),
    "max_length": (2, 1 << 20),
    "seed": (0, (1 << 63) - 1),
}
_POSITIVE = ("learning_rate", "max_grad_norm")
_WHOLE = ("batch_size", "epochs", "limit", "max_length", "seed")
_NAMES = [field.name for field in fields(TrainSettings)]


def read_settings(raw: object, place: Place, defaults: TrainSettings) -> TrainSettings:
    """`defaults` with the values of a mapping laid over them. ConfigError: unknown name, type or range."""
    if raw is None:
        return defaults
    mapping = place.mapping(raw, "settings by name")
    place.only(mapping, _NAMES)
    return TrainSettings(
        **(defaults.as_dict() | {name: _checked(name, value, place) for name, value in mapping.items()})
    )


def _checked(name: str, value: object, place: Place) -> object:
    """The value of one setting, if it is of the right type and in range."""
    at = place.key(name)
    if name == "precision":
        if value not in PRECISIONS:
            raise at.error("unknown precision", expected=" or ".join(PRECISIONS), found=describe(value))
        return value
    if name == "limit" and value is None:
        return value
    low, high = _RANGES[name]
    whole = name in _WHOLE
    if not isinstance(value, int | float) or isinstance(value, bool) or (whole and isinstance(value, float)):
        expected = "a whole number" if whole else "a number"
        raise at.error("wrong type of value", expected=expected, found=describe(value))
    number = value if whole else float(value)
    if not low <= number <= high or (name in _POSITIVE and number == 0):
        low_text = f"above {low:g}" if name in _POSITIVE else f"from {low:g}"
        raise at.error("value out of range", expected=f"{low_text} to {high:g}", found=describe(value))
    return number
