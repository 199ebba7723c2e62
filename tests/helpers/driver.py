"""Runs a merge method over blocks in the simplest way that obeys the contract: measure, fold, settle, apply.

No files, no engine: this is what the laws are checked with, and what the engine must agree with.

Shape legend: E experts, N elements of one tensor.

What an engine owes a method, in one place:
- Rounds are asked for until `next_round` gives None; every block of the scope is measured in every round, in
a `sample` round any of them.
- What a block measured in a `keep` round is kept; where `recall` makes a later round's partial of it, it is
the one that measuring gives.
- Partials are folded by element-wise addition of int64 arrays, in any order.
- After a `scan` round, each block's `before` holds for every array of that round the sum over the blocks that
precede it in
  the scope (tensor order, then element order); blocks get it in all later rounds and in `apply`.
- A scope is one tensor, or all tensors in the given order; `Scope.numel` counts the elements of the whole
scope.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pipeline.kernels.contract import Block
from pipeline.kernels.plain.block import PlainBlock
from pipeline.methods.contract import Knobs, Method, Partial, Round, Scope, Totals


@dataclass(frozen=True)
class Given:
    """One tensor of a merge: `base_N` (None where there is no base) and `experts_EN`, flat, in the compute
    dtype.
    """

    name: str
    base_N: Tensor | None
    experts_EN: Tensor


def resolve(method: Method, experts: int, semantics: str = "mergekit", **chosen: Any) -> dict[str, Any]:
    """Every knob of the method: what is chosen, else the default of that school. Required knobs must be
    chosen.

    A per-model knob given as one number is repeated for every expert.
    """
    unknown = set(chosen) - {knob.name for knob in method.knobs}
    assert not unknown, f"{method.name} has no knob {unknown}"
    knobs = {}
    for knob in method.knobs:
        default = knob.paper if semantics == "paper" and knob.paper is not None else knob.default
        value = chosen.get(knob.name, default)
        assert value is not None, f"{method.name}: {knob.name} is required"
        per_model = knob.scope == "model" and not isinstance(value, Sequence)
        knobs[knob.name] = (value,) * experts if per_model else value
    return knobs


def merge(
    method: Method,
    given: Sequence[Given],
    knobs: Knobs,
    *,
    models: Sequence[str] | None = None,
    cuts: Mapping[str, Sequence[int]] | None = None,
    fold_seed: int = 0,
) -> dict[str, Tensor]:
    """Merged tensors by name, flat, in the compute dtype.

    `cuts` says at which element indices each tensor is cut into blocks; `fold_seed` shuffles the order in
    which partials are added up.
    """
    scopes = [list(given)] if method.scope(knobs) == "model" else [[tensor] for tensor in given]
    merged: dict[str, Tensor] = {}
    for tensors in scopes:
        merged |= _merge_scope(method, tensors, knobs, models, cuts or {}, random.Random(fold_seed))
    return merged


def merge_one(method: Method, base_N: Tensor | None, experts_EN: Tensor, knobs: Knobs, **how: Any) -> Tensor:
    """`merge` of a single tensor called "w"; `cuts` may be a plain list."""
    if "cuts" in how:
        how["cuts"] = {"w": how["cuts"]}
    return merge(method, [Given("w", base_N, experts_EN)], knobs, **how)["w"]


def settle_totals(method: Method, given: Given, knobs: Knobs, models: Sequence[str] | None = None) -> Totals:
    """The totals that the rounds over one whole tensor settle."""
    blocks = list(_blocks(given, models, ()))
    return _settle(method, blocks, knobs, Scope(_numel([given])), random.Random(0))[0]


def _merge_scope(
    method: Method,
    tensors: Sequence[Given],
    knobs: Knobs,
    models: Sequence[str] | None,
    cuts: Mapping[str, Sequence[int]],
    dice: random.Random,
) -> dict[str, Tensor]:
    blocks = [b for tensor in tensors for b in _blocks(tensor, models, cuts.get(tensor.name, ()))]
    totals, before = _settle(method, blocks, knobs, Scope(_numel(tensors)), dice)
    merged = {
        tensor.name: tensor.experts_EN.new_full((tensor.experts_EN.shape[1],), 7.0) for tensor in tensors
    }
    for i in dice.sample(range(len(blocks)), len(blocks)):
        part_N = method.apply(blocks[i], knobs, totals, before[i])
        assert part_N.dtype == blocks[i].experts_EN.dtype
        assert part_N.shape == blocks[i].experts_EN.shape[1:]
        merged[blocks[i].tensor][blocks[i].start : blocks[i].start + len(part_N)] = part_N
    return merged


def _settle(
    method: Method, blocks: Sequence[PlainBlock], knobs: Knobs, scope: Scope, dice: random.Random
) -> tuple[Totals, list[Partial]]:
    totals: Totals = {}
    before: list[Partial] = [{} for _ in blocks]
    kept: list[Partial] = [{} for _ in blocks]
    seen: list[Round] = []
    while (round_ := method.next_round(knobs, totals)) is not None:
        assert round_ not in seen, f"{method.name} asks for round {round_.name} twice"
        seen.append(round_)
        partials = [
            _measured(method, round_, block, knobs, totals, earlier)
            for block, earlier in zip(blocks, before, strict=True)
        ]
        for partial, held in zip(partials, kept, strict=True):
            recalled = method.recall(round_, held, knobs, totals)
            assert recalled is None or _same(recalled, partial)
            if round_.keep:
                held.update(partial)
        if round_.scan:
            before = _scanned(before, partials)
        chosen = dice.sample(partials, -(-len(partials) // 2) if round_.sample else len(partials))
        totals = method.settle(round_, _fold(chosen), knobs, totals, scope)
    return totals, before


def _measured(
    method: Method, round_: Round, block: Block, knobs: Knobs, totals: Totals, before: Partial
) -> Partial:
    partial: Partial = {}
    method.measure(round_, block, knobs, totals, before, partial)
    return partial


def _same(one: Partial, other: Partial) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def _fold(partials: Sequence[Partial]) -> Partial:
    total = {name: array.copy() for name, array in partials[0].items()}
    for partial in partials[1:]:
        assert partial.keys() == total.keys()
        for name, array in partial.items():
            assert array.dtype == np.int64 and array.shape == total[name].shape
            total[name] += array
    return total


def _scanned(before: Sequence[Partial], partials: Sequence[Partial]) -> list[Partial]:
    """Each block's `before` with the sums over earlier blocks of this round's arrays added."""
    running = {name: np.zeros_like(array) for name, array in partials[0].items()}
    scanned = []
    for earlier, partial in zip(before, partials, strict=True):
        scanned.append({**earlier, **{name: array.copy() for name, array in running.items()}})
        running = {name: running[name] + array for name, array in partial.items()}
    return scanned


def _blocks(tensor: Given, models: Sequence[str] | None, cuts: Sequence[int]) -> Iterator[PlainBlock]:
    experts, numel = tensor.experts_EN.shape
    names = tuple(models or (f"model-{e}" for e in range(experts)))
    edges = [0, *sorted(cuts), numel]
    for start, stop in itertools.pairwise(edges):
        base_N = None if tensor.base_N is None else tensor.base_N[start:stop]
        yield PlainBlock(tensor.name, start, names, base_N, tensor.experts_EN[:, start:stop])


def _numel(tensors: Sequence[Given]) -> int:
    return sum(tensor.experts_EN.shape[1] for tensor in tensors)
