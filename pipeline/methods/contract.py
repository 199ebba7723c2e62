"""The contract of a merge method: measure -> fold -> apply. No files, no Ray, no logging, no global state.

Shape legend: E experts, N elements of one block (a run of consecutive elements of one tensor, row-major).

A method sees a *block* at a time and never learns how the tensor was cut. What it must know about the whole
tensor (or the whole model) it learns in *rounds*: every block is measured, the partials are folded by adding
integers (exact, so the order and the cut cannot matter), and `settle` turns the sum into totals for the next
round. The arithmetic on elements is `kernels`' (a `Block` offers the primitives); a method says what each
expert loses and how the rest is mixed. Nothing here loads torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.contract import Block

#: One measure of a block, or the sum of many: named int64 arrays. Folding is element-wise addition.
Partial = dict[str, NDArray[np.int64]]
#: What the rounds so far have settled, small enough to travel with every unit of work.
Totals = dict[str, Any]
#: Resolved parameters of one tensor: per-model knobs are tuples of length E, the others scalars.
Knobs = Mapping[str, Any]


@dataclass(frozen=True)
class Knob:
    """One parameter of a method, as users write it.

    `scope`: "model" values may differ from expert to expert, "global" ones may not.
    `default`: None means required. `paper`: the default under `semantics: paper` when it differs.
    `low`/`high`: inclusive bounds of numbers; `choices`: allowed words. `per_tensor` is False for a knob that
    must have one value for the whole merge (a gradient or filter on it is an error). `in_totals`: the rounds
    read it, so under model scope it must be the same for every tensor.
    """

    name: str
    kind: Literal["float", "int", "bool", "choice"]
    doc: str
    scope: Literal["global", "model"] = "global"
    default: Any = None
    paper: Any = None
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    per_tensor: bool = True
    in_totals: bool = False


@dataclass(frozen=True)
class Traits:
    """What the planner must know about a method.

    `base`: "required" (deltas are taken from it), "optional" or "ignored" (it is an input like any other if
    listed).
    `grain`: the smallest piece that may be cut off: one element, one row (last dim whole), or the whole
    tensor.
    `cost_ns`: nanoseconds one core takes for one element of one expert, for the plan's estimate; measured.
    """

    base: Literal["required", "optional", "ignored"]
    min_experts: int = 1
    max_experts: int | None = None
    grain: Literal["element", "row", "tensor"] = "element"
    cost_ns: float = 5.0


@dataclass(frozen=True)
class Round:
    """One pass of measuring; a method's rounds have distinct names.

    scan: apply and later rounds also get the sum over all *earlier* blocks. A scan's measure must give the
    same partial again under later totals. sample: a share of the elements will do; which ones may decide how
    many rounds follow, never what comes out. keep: the engine keeps each piece's own partial, from which
    `recall` may answer a later round.
    """

    name: str
    scan: bool = False
    sample: bool = False
    keep: bool = False


@dataclass(frozen=True)
class Scope:
    """What a round's totals are about: one tensor or the whole model. `numel` counts the elements folded
    over.
    """

    numel: int


def no_rounds(knobs: Knobs, totals: Totals) -> Round | None:
    """`next_round` of a method that needs to know nothing but the block."""
    return None


def add(partial: Partial, name: str, counts: NDArray[np.int64]) -> None:
    """Add counts to a partial's array of that name, in place; the first ones become it."""
    held = partial.setdefault(name, counts)
    if held is not counts:
        np.add(held, counts, out=held)


def no_measure(
    round_: Round, block: Block, knobs: Knobs, totals: Totals, before: Partial, partial: Partial
) -> None:
    """`measure` of a method without rounds; never called."""
    raise AssertionError(f"a method without rounds was asked to measure {round_.name}")


def no_settle(round_: Round, folded: Partial, knobs: Knobs, totals: Totals, scope: Scope) -> Totals:
    """`settle` of a method without rounds; never called."""
    raise AssertionError(f"a method without rounds was asked to settle {round_.name}")


def no_recall(round_: Round, kept: Partial, knobs: Knobs, totals: Totals) -> Partial | None:
    """`recall` of a method whose rounds must all be measured."""
    return None


def no_passes(knobs: Knobs) -> int:
    """`passes` of a method without rounds."""
    return 0


def no_check(knobs: Knobs, tensor: str) -> None:
    """`check` of a method whose knobs are right whenever each of them is."""


def tensor_scope(knobs: Knobs) -> Literal["tensor", "model"]:
    """`scope` of a method whose totals are about each tensor alone."""
    return "tensor"


@dataclass(frozen=True)
class Method:
    """A merge method as data and pure functions.

    next_round(knobs, totals)                          the next round to measure, or None when apply may run
    measure(round, block, knobs, totals, before, partial)
                                                       adds a block's share of that round to `partial`
    recall(round, kept, knobs, totals)                 a piece's partial for that round, read off what it
                                                       kept of an earlier one; None where it must be measured
    settle(round, folded, knobs, totals, scope)        new totals, given the sum of all partials
    apply(block, knobs, totals, before)                the merged elements, in the block's own form
    check(knobs, tensor)                               raises ConfigError for knobs that are wrong together
    scope(knobs)                                       what totals are about: each "tensor" or the "model"
    passes(knobs)                                      how many rounds look at every element where guesses
                                                       hold: for the plan's estimate
    `totals` starts as {} and `before` is {} until a `scan` round has run; it then holds, per array of that
    round, the sum over the blocks that precede this one (in the tensor; in the model's tensor order under
    model scope); an array that is not there is zero.
    """

    name: str
    title: str
    source: str
    traits: Traits
    knobs: tuple[Knob, ...]
    apply: Callable[[Block, Knobs, Totals, Partial], Any]
    next_round: Callable[[Knobs, Totals], Round | None] = no_rounds
    measure: Callable[[Round, Block, Knobs, Totals, Partial, Partial], None] = no_measure
    recall: Callable[[Round, Partial, Knobs, Totals], Partial | None] = no_recall
    settle: Callable[[Round, Partial, Knobs, Totals, Scope], Totals] = no_settle
    scope: Callable[[Knobs], Literal["tensor", "model"]] = tensor_scope
    passes: Callable[[Knobs], int] = no_passes
    check: Callable[[Knobs, str], None] = no_check
    notes: tuple[str, ...] = field(default=())

    def knob(self, name: str) -> Knob | None:
        """The knob of that name, or None."""
        return next((knob for knob in self.knobs if knob.name == name), None)
