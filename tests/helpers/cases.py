"""What the laws are tried on: settings of every method's knobs, and tensors of several kinds. Checks nothing.

Shape legend: E experts, N elements of one tensor.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.methods import CATALOGUE, load_method
from pipeline.methods.contract import Knob, Method
from tests.helpers.driver import Given, resolve

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
WEIGHTS = (1.0, 0.5, 2.0, 0.25, 1.5)


@dataclass(frozen=True)
class Setting:
    """A method and a way to set its knobs."""

    method: str
    semantics: str = "mergekit"
    chosen: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        knobs = ",".join(f"{name}={value}" for name, value in self.chosen.items())
        return f"{self.method}-{self.semantics}-{knobs}"

    def load(self) -> Method:
        """The method itself."""
        return load_method(self.method)

    def knobs(self, experts: int, **fixed: Any) -> dict[str, Any]:
        """Resolved knobs; a weight is 1 unless set, `fixed` wins."""
        known = {knob.name for knob in self.load().knobs}
        chosen = {"weight": 1.0, **self.chosen, **fixed}
        chosen = {name: value for name, value in chosen.items() if name in known}
        cut = {k: tuple(v[:experts]) if isinstance(v, tuple) else v for k, v in chosen.items()}
        return resolve(self.load(), experts, self.semantics, **cut)


def every_setting() -> list[Any]:
    """pytest parameters: for every method its schools' defaults, and each knob turned by itself."""
    return [pytest.param(setting, id=str(setting)) for name in CATALOGUE for setting in settings_of(name)]


def each_with(variants: Sequence[Any]) -> list[Any]:
    """pytest parameters (setting, variant) for every method's settings and every variant.

    Each setting has one variant in the quick suite, chosen by a hash of the two, and all of them in
    `make test-all`: the quick suite grows with the methods, not with the product.
    """
    found = []
    for parameter in every_setting():
        (setting,) = parameter.values
        chosen = min(variants, key=lambda variant: zlib.crc32(f"{setting} {variant}".encode()))
        found += [
            pytest.param(
                setting,
                variant,
                id=f"{setting}-{variant}",
                marks=() if variant == chosen else pytest.mark.slow,
            )
            for variant in variants
        ]
    return found


def every_method() -> list[Any]:
    """pytest parameters: every method with its defaults."""
    return [pytest.param(Setting(name), id=name) for name in CATALOGUE]


def settings_of(name: str) -> list[Setting]:
    """A method's settings to try, from its list of knobs alone."""
    method = load_method(name)
    sparse = {"density": 0.4} if method.knob("density") else {}
    settings = [Setting(name), Setting(name, chosen={"weight": WEIGHTS})]
    if any(knob.paper is not None for knob in method.knobs):
        settings += [Setting(name, "paper"), Setting(name, "paper", {**sparse, "weight": WEIGHTS})]
    turned = [{knob.name: value} for knob in method.knobs for value in alternatives(knob)]
    settings += [Setting(name, chosen={**sparse, **turn}) for turn in turned]
    if sparse:
        settings += [Setting(name, chosen={"density": (0.5, 1.0, 0.0, 0.1, 0.9)})]
        everything = {key: value for turn in turned for key, value in turn.items()}
        settings += [Setting(name, chosen=everything)]
    return settings


def alternatives(knob: Knob) -> list[Any]:
    """Other values than mergekit's default."""
    if knob.kind == "bool":
        return [not knob.default]
    if knob.kind == "choice":
        return [choice for choice in knob.choices if choice != knob.default]
    if knob.kind == "int":
        return [7]
    return [] if knob.name in ("weight", "density") else [0.4]


def tensors(
    kind: str, dtype: torch.dtype, experts: int = 3, sizes: Sequence[int] = (317,), seed: int = 0
) -> list[Given]:
    """Tensors w0, w1, ... of the given sizes.

    kind "grid": multiples of a step so coarse that deltas, sums and many products are exact in `dtype`, with
    many equal and many zero deltas.  "fine": fp32 and fp64 only: a fine step, deltas still exact, few equal.
    "random": normal noise, rounded.  "wild": grid with NaN, Inf, subnormals, huge numbers and signed zeros
    sprinkled in.
    """
    generator = torch.Generator().manual_seed(seed)
    return [
        Given(f"w{i}", *_drawn("grid" if kind == "wild" else kind, dtype, experts, size, generator))
        if kind != "wild"
        else Given(f"w{i}", *_wild(dtype, experts, size, generator))
        for i, size in enumerate(sizes)
    ]


def _drawn(
    kind: str, dtype: torch.dtype, experts: int, size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    if kind == "random":
        base_N = torch.randn(size, generator=generator, dtype=torch.float64)
        noise_EN = torch.randn(experts, size, generator=generator, dtype=torch.float64)
        return base_N.to(dtype), (base_N + 0.1 * noise_EN).to(dtype)
    steps = 2**6 if kind == "grid" else 2**22
    base_N = torch.randint(-steps, steps + 1, (size,), generator=generator) / steps
    spread = steps // 8
    delta_EN = torch.randint(-spread, spread + 1, (experts, size), generator=generator) / steps
    delta_EN *= torch.randint(0, 4, (experts, size), generator=generator) > 0
    return base_N.to(dtype), (base_N + delta_EN).clamp(-1, 1).to(dtype)


def _wild(dtype: torch.dtype, experts: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    base_N, experts_EN = _drawn("grid", dtype, experts, size, generator)
    limits = torch.finfo(dtype)
    odd = torch.tensor(
        [
            float("nan"),
            float("inf"),
            -float("inf"),
            limits.max,
            -limits.max,
            limits.smallest_normal,
            -0.0,
            0.0,
        ],
        dtype=torch.float64,
    )
    odd = torch.cat([odd, torch.tensor([3.0, -5.0]) * limits.smallest_normal * limits.eps]).to(dtype)
    for row_N in (base_N, *experts_EN):
        at = torch.randint(0, size, (max(1, size // 10),), generator=generator)
        row_N[at] = odd[torch.randint(0, len(odd), at.shape, generator=generator)]
    return base_N, experts_EN


def same_bits(one_N: Tensor, other_N: Tensor) -> bool:
    """Whether two tensors hold the same bytes, NaNs and signs of zero included."""
    return one_N.dtype == other_N.dtype and torch.equal(one_N.view(torch.uint8), other_N.view(torch.uint8))


def rounding(dtype: torch.dtype, experts: int, scale: float = 4.0) -> float:
    """Bound on what rounding may add up to: a few roundings an expert, of numbers below `scale`."""
    return (experts + 8) * torch.finfo(dtype).eps * scale / 2
