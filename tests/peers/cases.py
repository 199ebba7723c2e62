"""Merges that mergekit 0.1.5 and we must agree on, as data. Checks nothing itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """One config over one family of models; `weights` and `density` are one value an expert."""

    name: str
    method: str
    weights: tuple[Any, ...] = (1.0, 1.0, 1.0)
    density: tuple[Any, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    top: dict[str, Any] = field(default_factory=dict)
    family: str = "float32"
    base_weight: float | None = None

    def config(self, base: Path, experts: list[Path]) -> dict[str, Any]:
        """The config as mergekit's YAML has it."""
        models = []
        for number, (expert, weight) in enumerate(zip(experts, self.weights, strict=True)):
            parameters = {"weight": weight}
            if self.density:
                parameters["density"] = self.density[number]
            models.append({"model": str(expert), "parameters": parameters})
        config = {"merge_method": self.method, "models": models, "parameters": self.parameters}
        if self.base_weight is not None:
            models.insert(0, {"model": str(base), "parameters": {"weight": self.base_weight}})
        if self.method != "linear":
            config["base_model"] = str(base)
        return {**config, **self.top}


MIXED = (0.3, 0.7, 0.45)
SIGNED = (0.6, -0.25, 1.1)
SPARSE = (0.2, 0.5, 0.07)
GRADIENT = [0.1, 0.9, 0.4]
FILTERED = [{"filter": "self_attn", "value": 0.2}, {"filter": "mlp", "value": GRADIENT}, {"value": 0.6}]

FP32 = (
    Case("linear", "linear"),
    Case("linear-weights", "linear", MIXED),
    Case("linear-plain", "linear", SIGNED, parameters={"normalize": False}),
    Case("linear-base", "linear", MIXED, base_weight=0.5),
    Case("linear-gradient", "linear", (GRADIENT, 0.5, FILTERED)),
    Case("task", "task_arithmetic", SIGNED),
    Case("task-mean", "task_arithmetic", MIXED, parameters={"normalize": True, "lambda": 0.8}),
    Case("task-cancel", "task_arithmetic", (1.0, -1.0, 0.0), parameters={"normalize": True}),
    Case("task-filter", "task_arithmetic", (FILTERED, GRADIENT, 0.2), parameters={"lambda": [1.0, 0.5]}),
    Case("ties-dense", "ties"),
    Case("ties", "ties", (1.0, 1.0, 1.0), (0.2, 0.2, 0.2)),
    Case("ties-mixed", "ties", MIXED, SPARSE, {"lambda": 1.3}),
    Case("ties-signed", "ties", SIGNED, SPARSE),
    Case("ties-sum", "ties", SIGNED, SPARSE, {"normalize": False}),
    Case("ties-rescale", "ties", MIXED, SPARSE, {"rescale": True}),
    Case("ties-int8", "ties", MIXED, SPARSE, {"int8_mask": True}),
    Case("ties-none", "ties", MIXED, (0.0, 1.0, 0.001)),
    Case("ties-gradient", "ties", (GRADIENT, FILTERED, 1.0), (GRADIENT, 0.3, FILTERED)),
    Case("dare-linear", "dare_linear", SIGNED, (1.0, 1.0, 1.0)),
    Case("dare-linear-mean", "dare_linear", MIXED, parameters={"normalize": True, "rescale": False}),
    Case("dare-ties", "dare_ties", SIGNED, parameters={"lambda": 0.7}),
    Case("dare-ties-mean", "dare_ties", MIXED, (1.0, 1.0, 1.0), {"normalize": True}),
)

#: Other types: stored (the family's name), of the arithmetic (`dtype`) and written (`out_dtype`).
TYPED = tuple(
    Case(f"{method}-{family}-{'-'.join(map(str, top.values()))}", method, MIXED, density, {}, top, family)
    for method, density in (("linear", ()), ("task_arithmetic", ()), ("ties", SPARSE), ("dare_ties", ()))
    for family, top in (
        ("bfloat16", {"dtype": "float32"}),
        ("bfloat16", {"dtype": "float32", "out_dtype": "bfloat16"}),
        ("bfloat16", {"dtype": "bfloat16"}),
        ("float16", {"dtype": "float16"}),
        ("float32", {"dtype": "bfloat16"}),
        ("float32", {"dtype": "float32", "out_dtype": "float16"}),
    )
)
