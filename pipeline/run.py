"""MergePlan x Executor -> rounds -> receipts -> a published model. The story of a merge, or of several that
read together, and nothing else.

Whatever kills this process, running the same command again continues; an output directory appears only when
it is complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from cluster.contract import Executor, Outcome, Resources, Unit
from cluster.progress import Progress
from pipeline.checkpoint.locate import fetch_weights
from pipeline.checkpoint.manifest import Manifest
from pipeline.checkpoint.nonfinite import NonFinite, require_finite
from pipeline.errors import InputError, MergescaleError, UnitError
from pipeline.machine import available_memory_bytes
from pipeline.output import absolute, check_outputs
from pipeline.plan.cost import INTERPRETER_BYTES, raw_bytes
from pipeline.plan.plan import MergePlan, UnitPlan
from pipeline.plan.together import read_bytes, share_units
from pipeline.staging import clear_leftovers, explain
from pipeline.underway import Underway
from pipeline.work.entry import run_unit
from pipeline.work.orders import MergeOrder, UnitOrder

_SLOW_BYTES_PER_S = 20e6


def run_merge(
    plan: MergePlan,
    out: str | Path,
    executor: Executor,
    *,
    fresh: bool = False,
    strict: bool = False,
    show_progress: bool = False,
) -> Manifest:
    """Carry the plan out and publish the model at `out`; returns its manifest. See `run_merges`."""
    return run_merges([plan], [out], executor, fresh=fresh, strict=strict, show_progress=show_progress)[0]


def run_merges(
    plans: Sequence[MergePlan],
    outs: Sequence[str | Path],
    executor: Executor,
    *,
    fresh: bool = False,
    strict: bool = False,
    show_progress: bool = False,
) -> list[Manifest]:
    """Carry out plans that were made together (`plan_merges`), reading what they share once, and publish each
    model at its `out`; returns the manifests.

    An `out` that already holds its merge is left as it is; an interrupted run is resumed; `fresh` starts
    over. Raises OutputError when an `out` is taken, UnitError or RunError when work failed (what is finished
    is kept), CheckpointError when tensors that must be equal are not. With `strict`, a model that holds
    elements that are NaN or infinite is not published, and RunError says so when the others are; without,
    its manifest says so.
    """
    places = [absolute(out) for out in outs]
    found = check_outputs(plans, places, fresh)
    began = perf_counter()
    with ExitStack() as opened:
        merges: dict[int, Underway] = {}
        for number, (plan, out) in enumerate(zip(plans, places, strict=True)):
            if found[number] is not None:
                clear_leftovers(out)
                continue
            begun = _begin(with_local_weights(plan), out, fresh)
            opened.enter_context(begun.staging)
            if begun.staging.done is None:
                merges[number] = begun
            else:
                found[number] = begun.staging.done
                begun.staging.discard()
        for number, manifest in _carry_out(merges, executor, began, show_progress, fresh, strict):
            found[number] = manifest
    if strict:
        # What was not published has no manifest.
        known: dict[Path, Sequence[NonFinite] | None] = {
            places[number]: merge.nonfinite for number, merge in merges.items()
        }
        known.update((places[number], each.nonfinite) for number, each in enumerate(found) if each)
        require_finite(known)
    return [manifest for manifest in found if manifest is not None]


def _carry_out(
    merges: Mapping[int, Underway],
    executor: Executor,
    began: float,
    show_progress: bool,
    fresh: bool,
    strict: bool,
) -> Iterator[tuple[int, Manifest]]:
    """Measure, merge, seal, trace; then publish one after the other, if `strict` those that are finite."""
    if not merges:
        return
    try:
        run = _Run(list(merges.values()), executor, show_progress)
        _measure_and_merge(run)
        all_sealed = run.seal()
        run.trace()
        for number, sealed in zip(merges, all_sealed, strict=True):
            if strict and merges[number].nonfinite:
                continue
            elapsed_s = perf_counter() - began
            yield number, merges[number].publish(sealed, executor, elapsed_s, replace=fresh)
    except OSError as error:
        raise explain(error, str(next(iter(merges.values())).staging.root)) from error


def _measure_and_merge(run: _Run) -> None:
    """Measure and merge. Inputs that a unit found wrong are wrong for good: a merge that cannot be finished
    leaves no work that a mended config would be told of.
    """
    try:
        run.measure()
        run.merge()
    except InputError:
        for merge in run.merges:
            merge.staging.give_up(hopeless=len(run.merges) == 1)
        raise


def _begin(plan: MergePlan, out: Path, fresh: bool) -> Underway:
    """The merge with its work directory, locked and prepared."""
    try:
        return Underway.begin(plan, out, fresh)
    except OSError as error:
        raise explain(error, str(out)) from error


@dataclass(frozen=True)
class _Part:
    """What one merge, by its number in the run, has to do in a unit."""

    number: int
    unit: UnitPlan
    order: MergeOrder


class _Run:
    """What every stage of one run shares."""

    def __init__(self, merges: Sequence[Underway], executor: Executor, show_progress: bool) -> None:
        self.merges, self.executor, self.show = merges, executor, show_progress
        self.plans = [merge.plan for merge in merges]
        self.device = self.plans[0].device
        self.raw_bytes = min(raw_bytes(plan.limits, len(plan.experts), self.device) for plan in self.plans)
        self.units = share_units(self.plans)
        self.forget = sum(unit.read_bytes for unit in self.units) > available_memory_bytes()
        self.resources = Resources(
            cpus=1,
            gpus=1 if self.device == "cuda" and executor.name == "ray" else 0,
            memory_bytes=max(plan.cost.memory_bytes for plan in self.plans) + INTERPRETER_BYTES,
        )

    def measure(self) -> None:
        """Run every merge's rounds side by side, until all that must be known before merging is."""
        rounds = [merge.measuring for merge in self.merges]
        while sum(each.ask() for each in rounds):  # not any(): every merge is asked
            # A sample reads a share of each piece: it goes together with samples only.
            todo: dict[str, list[_Part]] = {}
            names = set()
            for number, each in enumerate(rounds):
                for unit, order in each.todo:
                    assert order.round is not None
                    names.add(order.round.name)
                    key = f"{unit.id}-{'sample' if order.thin else 'all'}"
                    todo.setdefault(key, []).append(_Part(number, unit, order))
            for _, part, result in self._work(todo, f"measuring {'/'.join(sorted(names))}"):
                rounds[part.number].take(part.unit, result)

    def merge(self) -> None:
        """Run every merging unit whose receipt and bytes do not agree yet."""
        checked = self._each([merge.checks() for merge in self.merges], "intact", "checking finished work")
        kept = [merge.kept(found) for merge, found in zip(self.merges, checked, strict=True)]
        shared = {
            unit.id: [
                _Part(number, own, self.merges[number].order(own))
                for number, own in unit.members
                if unit.id not in kept[number]
            ]
            for unit in self.units
        }
        todo = {name: parts for name, parts in shared.items() if parts}
        one = self.plans[0].config.merge_method
        label = f"merging {one if len(self.plans) == 1 else f'{len(self.plans)} models'}"
        for worker, part, receipt in self._work(todo, label):
            self.merges[part.number].note(part.unit.id, receipt, worker)

    def seal(self) -> list[dict[str, str]]:
        """Per merge the digest of every weight file, read back and checked against the receipts."""
        return self._each([merge.seals() for merge in self.merges], "digest", "sealing")

    def trace(self) -> None:
        """Let every merge know where its elements that are not finite come from."""
        asked = [merge.traces() for merge in self.merges]
        for merge, traced in zip(
            self.merges, self._each(asked, "traced", "tracing what is not finite"), strict=True
        ):
            merge.note_traced(traced)

    def _work(
        self, todo: Mapping[str, Sequence[_Part]], label: str
    ) -> Iterator[tuple[str, _Part, dict[str, Any]]]:
        """Run units by name; yields (worker, part, its result), all parts of a unit as it finishes."""
        sizes = {
            name: read_bytes([(self.plans[part.number], part.unit) for part in parts])
            for name, parts in todo.items()
        }
        units = (self._unit(name, parts, sizes[name]) for name, parts in todo.items())
        for outcome in self._outcomes(units, sizes, label):
            assert outcome.value is not None
            for part, result in zip(todo[outcome.unit_id], outcome.value["merges"], strict=True):
                yield outcome.worker, part, result

    def _unit(self, name: str, parts: Sequence[_Part], size_bytes: int) -> Unit:
        # Storage may be far slower than planned: a new attempt is for lost workers, not for slow disks.
        written_bytes = sum(part.unit.write_bytes for part in parts)
        expected_s = sum(part.unit.expected_s for part in parts)
        patient_s = max(expected_s, (size_bytes + written_bytes) / _SLOW_BYTES_PER_S)
        orders = tuple(part.order for part in parts)
        order = UnitOrder(name, self.device, self.raw_bytes, orders, self.forget)
        return Unit(name, run_unit, {"order": order}, self.resources, patient_s)

    def _each(
        self, asked: Sequence[Sequence[tuple[Unit, int]]], key: str, label: str
    ) -> list[dict[str, Any]]:
        """Run each merge's small units; per merge what `key` of the unit's result is, by the unit's id."""
        numbered = {
            f"{number}-{unit.id}": (number, unit, size)
            for number, units in enumerate(asked)
            for unit, size in units
        }
        found: list[dict[str, Any]] = [{} for _ in asked]
        sizes = {name: size for name, (_, _, size) in numbered.items()}
        units = (replace(unit, id=name) for name, (_, unit, _) in numbered.items())
        for outcome in self._outcomes(units, sizes, label):
            assert outcome.value is not None
            number, unit, _ = numbered[outcome.unit_id]
            found[number][unit.id] = outcome.value[key]
        return found

    def _outcomes(
        self, units: Iterable[Unit], size_bytes: Mapping[str, int], label: str
    ) -> Iterator[Outcome]:
        """Outcomes as they come, with live progress; the first fault ends the run with its cause."""
        if not size_bytes:
            return
        with (
            closing(self.executor.run(units)) as outcomes,  # type: ignore[type-var]  # generators close
            Progress(sum(size_bytes.values()), label, enabled=self.show) as progress,
        ):
            for outcome in outcomes:
                if outcome.fault is not None:
                    raise _failure(outcome)
                progress.advance(size_bytes[outcome.unit_id])
                yield outcome


def _failure(outcome: Outcome) -> Exception:
    """The exception that ends the run: the user's own mistake as it is, anything else as a UnitError that
    names the unit.
    """
    fault = outcome.fault
    assert fault is not None
    if isinstance(fault.exception, MergescaleError | OSError):
        return fault.exception
    error = UnitError(
        f"unit {outcome.unit_id} failed: {fault.message}",
        where=outcome.worker,
        found=f"a {fault.kind} fault after {outcome.attempts} attempt(s)",
        hint="run the same command again: finished work is kept (--debug shows the worker's traceback)",
    )
    error.__cause__ = fault.exception
    error.add_note(fault.traceback)
    return error


def with_local_weights(plan: MergePlan) -> MergePlan:
    """The same plan with Hub models' weights downloaded to where it expects them; local models are left as
    they are.

    Raises CheckpointError when the disk is too small or the Hub does not give what it described.
    """
    local = {index.directory: fetch_weights(index) for index in plan.indexes}
    return replace(
        plan,
        experts=tuple(local[index.directory] for index in plan.experts),
        base=None if plan.base is None else local[plan.base.directory],
    )
