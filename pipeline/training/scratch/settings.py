"""What the making of one base model is told, checked. Knows nothing of files, models or torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from pipeline.config.place import Place, describe

_Settings = TypeVar("_Settings")


@dataclass(frozen=True)
class Architecture:
    """A Llama decoder without its vocabulary, which is the tokenizer's. `context`: tokens it can read.

    hidden, mlp: widths.  kv_heads: key-value heads, None for as many as `heads`.  tied: one matrix for
    reading and predicting tokens.
    """

    hidden: int
    mlp: int
    layers: int
    heads: int
    kv_heads: int | None = None
    context: int = 512
    tied: bool = True

    def parameters(self, vocab: int) -> int:
        """How many values a model of this shape has."""
        head = self.hidden // self.heads
        attention = 2 * self.hidden * self.hidden + 2 * self.hidden * head * (self.kv_heads or self.heads)
        layer = attention + 3 * self.hidden * self.mlp + 2 * self.hidden
        return vocab * self.hidden * (1 if self.tied else 2) + self.layers * layer + self.hidden


@dataclass(frozen=True)
class InstructSettings:
    """The second stage: `steps` batches of choice rows, loss on the answers only.

    The rate rises over the first `warmup` share of the steps, then falls in a line to zero. `max_length`:
    tokens of prompt and answer; longer prompts lose their beginning. `text_every`: every so many batches one
    is of text as in the first stage (1: none but text), so that it is not forgotten; None for none.
    """

    steps: int
    batch_size: int = 32
    learning_rate: float = 5e-4
    warmup: float = 0.1
    max_length: int = 256
    text_every: int | None = None


@dataclass(frozen=True)
class ScratchSettings:
    """One base model: its shape and how it is trained.

    `tokens` are read in sequences of `sequence`, `batch_size` at once; the corpus is repeated where it is
    shorter. The rate rises over the first `warmup` share of the steps and falls to zero by `schedule`.
    `precision` is that of the matrix products ("auto": bfloat16 where the processor has it), `stored` that of
    the checkpoint; weights in training are float32. Every `save_every` steps the run can be taken up again.
    """

    architecture: Architecture
    tokens: int
    sequence: int = 128
    batch_size: int = 16
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    warmup: float = 0.02
    weight_decay: float = 0.1
    max_grad_norm: float = 1.0
    seed: int = 0
    precision: str = "auto"
    stored: str = "float32"
    save_every: int = 200
    instruct: InstructSettings | None = None

    @property
    def steps(self) -> int:
        """Optimiser steps of the first stage."""
        return -(-self.tokens // (self.batch_size * self.sequence))

    @property
    def total_steps(self) -> int:
        """Optimiser steps of both stages."""
        return self.steps + (self.instruct.steps if self.instruct else 0)

    def as_dict(self) -> dict[str, Any]:
        """Field -> value, for JSON."""
        return asdict(self)


_NAMES = {
    "schedule": ("cosine", "linear"),
    "precision": ("auto", "float32", "bfloat16"),
    "stored": ("float32", "bfloat16"),
}
#: Field -> (smallest, largest); every other whole number is from 1 to 2^40.
_RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": (1e-12, 1.0),
    "warmup": (0.0, 1.0),
    "weight_decay": (0.0, 1.0),
    "max_grad_norm": (1e-12, 1e9),
    "seed": (0, (1 << 32) - 1),
    "sequence": (2, 1 << 20),
    "max_length": (2, 1 << 20),
}
_WHOLE_RANGE = (1, 1 << 40)


def read_scratch(raw: object, place: Place) -> ScratchSettings:
    """The settings in a mapping. ConfigError: a name that is missing or unknown, a wrong type or range."""
    found = _read(raw, place, ScratchSettings)
    shape, at = found.architecture, place.key("architecture")
    if shape.hidden % shape.heads or (shape.hidden // shape.heads) % 2:
        raise at.key("heads").error(
            "heads do not fit the width",
            expected="hidden / heads an even whole number",
            found=str(shape.heads),
        )
    if shape.heads % (shape.kv_heads or shape.heads):
        raise at.key("kv_heads").error(
            "key-value heads do not fit",
            expected=f"a divisor of heads, {shape.heads}",
            found=str(shape.kv_heads),
        )
    longest = max(found.sequence, found.instruct.max_length if found.instruct else 0)
    if longest > shape.context:
        raise at.key("context").error(
            "trained on longer texts than the model can read",
            expected=f"{longest} or more",
            found=str(shape.context),
        )
    return found


def scratch_from_dict(values: dict[str, Any]) -> ScratchSettings:
    """What `as_dict` gave, back."""
    instruct = values["instruct"]
    parts = {
        "architecture": Architecture(**values["architecture"]),
        "instruct": InstructSettings(**instruct) if instruct else None,
    }
    return ScratchSettings(**(values | parts))


def _read(raw: object, place: Place, kind: type[_Settings]) -> _Settings:
    """A mapping as one of the dataclasses above, field by field."""
    mapping = place.mapping(raw, "settings by name")
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # all three are dataclasses
    place.only(mapping, names)
    values = {name: _value(value, place.key(name), hints[name], name) for name, value in mapping.items()}
    try:
        return kind(**values)
    except TypeError as error:
        missing = [name for name in names if f"'{name}'" in str(error)]
        raise place.error("settings are missing", expected=", ".join(missing)) from error


def _value(value: object, at: Place, hint: Any, name: str) -> object:
    """One value, of the type that the field is annotated with and in range."""
    kinds = get_args(hint) or (hint,)
    if value is None and NoneType in kinds:
        return None
    if kinds[0] in (Architecture, InstructSettings):
        return _read(value, at, kinds[0])
    if name in _NAMES:
        if value not in _NAMES[name]:
            raise at.error("unknown name", expected=" or ".join(_NAMES[name]), found=describe(value))
        return value
    if kinds[0] is bool:
        if not isinstance(value, bool):
            raise at.error("wrong type of value", expected="true or false", found=describe(value))
        return value
    whole = kinds[0] is int
    if not isinstance(value, int | float) or isinstance(value, bool) or (whole and isinstance(value, float)):
        expected = "a whole number" if whole else "a number"
        raise at.error("wrong type of value", expected=expected, found=describe(value))
    low, high = _RANGES.get(name, _WHOLE_RANGE)
    if not low <= value <= high:
        raise at.error("value out of range", expected=f"from {low:g} to {high:g}", found=describe(value))
    return value if whole else float(value)
