"""Weighted average of whole models ("model soup"). Takes no deltas: a base that is listed is one more input.

Shape legend: E experts, N elements of one block.
"""

from __future__ import annotations

from typing import Any

from pipeline.errors import ConfigError
from pipeline.kernels.contract import Block
from pipeline.methods.contract import Knob, Knobs, Method, Partial, Totals, Traits


def apply(block: Block, knobs: Knobs, totals: Totals, before: Partial) -> Any:
    """sum_e w_e x_e, divided by sum_e w_e if `normalize`.

    Summed in fp32 (fp64 for fp64) in expert order and rounded once, also when the compute dtype is fp16 or
    bf16.
    """
    return block.average(knobs["weight"], sum(knobs["weight"]) if knobs["normalize"] else 1.0)


def check(knobs: Knobs, tensor: str) -> None:
    """Raise ConfigError where normalised weights add up to zero."""
    if knobs["normalize"] and sum(knobs["weight"]) == 0:
        raise ConfigError(
            "the weights of a linear merge add up to zero, so they cannot be normalised",
            where=f'tensor "{tensor}"',
            expected="weights with a sum other than zero",
            found=f"weights {list(knobs['weight'])}",
            hint="change a weight, or set normalize: false",
        )


METHOD = Method(
    name="linear",
    title="Weighted average of the models' weights",
    source="Wortsman et al., Model soups, arXiv 2203.05482",
    traits=Traits(base="ignored", cost_ns=0.3),
    knobs=(
        Knob(
            "weight",
            "float",
            "share of each model, also of the base if it is listed",
            scope="model",
            paper=1.0,
        ),
        Knob("normalize", "bool", "divide by the sum of the weights", default=True),
    ),
    apply=apply,
    check=check,
    notes=(
        "sums are kept in float32 even with dtype: float16 or bfloat16, and rounded once, as in mergekit",
    ),
)
