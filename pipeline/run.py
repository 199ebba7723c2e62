"""MergePlan x Executor -> rounds -> receipts -> a published model. The story of a merge, and nothing else.

Whatever kills this process, running the same command again continues; the output directory appears only when
it is complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from cluster.contract import Executor, Outcome, Resources, Unit
from cluster.progress import Progress
from pipeline.checkpoint.commit import publish
from pipeline.checkpoint.files import digest_bytes
from pipeline.checkpoint.locate import fetch_weights
from pipeline.checkpoint.manifest import Manifest
from pipeline.errors import MergescaleError, UnitError
from pipeline.machine import available_memory_bytes
from pipeline.measuring import Settled, settle_groups
from pipeline.output import absolute, check_output
from pipeline.plan.cost import INTERPRETER_BYTES, raw_bytes
from pipeline.plan.plan import MergePlan, UnitPlan
from pipeline.publishing import furnish, note_discarded
from pipeline.staging import Staging, clear_leftovers, explain
from pipeline.work.entry import run_unit
from pipeline.work.orders import PieceOrder, UnitOrder
from pipeline.work.seal import intact, seal

_SLOW_BYTES_PER_S = 20e6


def run_merge(
    plan: MergePlan,
    out: str | Path,
    executor: Executor,
    *,
    fresh: bool = False,
    show_progress: bool = False,
) -> Manifest:
    """Carry the plan out and publish the model at `out`; returns its manifest.

    An `out` that already holds this merge is returned at once; an
    interrupted run is resumed; `fresh` starts over. Raises OutputError when `out` is taken, UnitError or
    RunError when work failed (what is finished is kept), CheckpointError when tensors that must be equal are
    not.
    """
    out = absolute(out)
    done = check_output(plan, out, fresh)
    if done is not None:
        clear_leftovers(out)
        return done
    plan = with_local_weights(plan)
    began = perf_counter()
    try:
        staging = Staging(plan, out, fresh)
    except OSError as error:
        raise explain(error, str(out)) from error
    try:
        if staging.done is not None:
            staging.discard()
            return staging.done
        run = _Run(plan, staging, executor, show_progress)
        settled = settle_groups(plan, staging, run.measure)
        run.merge(settled)
        digests = run.seal()
        finish = note_discarded if plan.discard else furnish
        manifest = finish(plan, staging, digests, executor, perf_counter() - began)
        publish(staging.model, out, replace=fresh)
        staging.discard()
    except OSError as error:
        raise explain(error, str(staging.root)) from error
    finally:
        staging.ledger.close()
    return manifest


class _Run:
    """The parts that every stage of one run shares."""

    def __init__(self, plan: MergePlan, staging: Staging, executor: Executor, show_progress: bool) -> None:
        self.plan, self.staging, self.executor, self.show = plan, staging, executor, show_progress
        self.raw_bytes = raw_bytes(plan.limits, len(plan.experts), plan.device)
        self.forget = plan.cost.read_bytes > available_memory_bytes()
        self.resources = Resources(
            cpus=1,
            gpus=1 if plan.device == "cuda" and executor.name == "ray" else 0,
            memory_bytes=plan.cost.memory_bytes + INTERPRETER_BYTES,
        )

    def measure(
        self, orders: Sequence[tuple[UnitPlan, UnitOrder]], label: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Run measuring orders; yields (order id, result) in finish order."""
        read_bytes = {order.id: unit.read_bytes for unit, order in orders}
        units = (self._unit(unit, order) for unit, order in orders)
        for outcome in self._outcomes(units, sum(read_bytes.values()), label, read_bytes):
            assert outcome.value is not None
            yield outcome.unit_id, outcome.value

    def merge(self, settled: dict[int, Settled]) -> None:
        """Run every merging unit whose receipt and bytes do not agree yet."""
        kept = self._kept()
        todo = [unit for unit in self.plan.units if unit.id not in kept]
        read_bytes = {unit.id: unit.read_bytes for unit in todo}
        units = (
            self._unit(unit, self.order(unit, settled.get(-1 if unit.group is None else unit.group)))
            for unit in todo
        )
        label = f"merging {self.plan.config.merge_method}"
        for outcome in self._outcomes(units, sum(read_bytes.values()), label, read_bytes):
            assert outcome.value is not None
            self.staging.ledger.append(outcome.unit_id, {**outcome.value, "worker": outcome.worker})

    def seal(self) -> dict[str, str]:
        """Digest of every weight file, read back from the disk and checked against the receipts.

        Where nothing was written: digest of the list of its pieces and their digests.
        """
        pieces = self._pieces_by_file()
        if self.plan.discard:
            return {name: digest_bytes(repr(found).encode()) for name, found in pieces.items()}
        units = (
            Unit(
                f"seal-{shard.name}",
                seal,
                {"path": str(self.staging.model / shard.name), "pieces": pieces[shard.name]},
            )
            for shard in self.plan.shards
        )
        sizes = {f"seal-{shard.name}": shard.size_bytes for shard in self.plan.shards}
        digests = {}
        for outcome in self._outcomes(units, sum(sizes.values()), "sealing", sizes):
            assert outcome.value is not None
            digests[outcome.unit_id.removeprefix("seal-")] = outcome.value["digest"]
        return digests

    def order(self, unit: UnitPlan, settled: Settled | None) -> UnitOrder:
        """The unit as a worker receives it, with what the rounds found out about its group."""
        pieces = tuple(
            PieceOrder(
                self.plan.tensors[piece.tensor],
                piece,
                settled.totals if settled else {},
                settled.before(piece) if settled else {},
            )
            for piece in unit.pieces
        )
        return UnitOrder(
            id=unit.id,
            method=self.plan.config.merge_method,
            models=tuple(str(index.ref) for index in self.plan.experts),
            device=self.plan.device,
            directory="" if self.plan.discard else str(self.staging.model.absolute()),
            memory_bytes=self.raw_bytes,
            pieces=pieces,
            scans=settled.scans if settled else (),
            forget=self.forget,
        )

    def _unit(self, unit: UnitPlan, order: UnitOrder) -> Unit:
        # Storage may be far slower than planned: a new attempt is for lost workers, not for slow disks.
        patient_s = max(unit.expected_s, (unit.read_bytes + unit.write_bytes) / _SLOW_BYTES_PER_S)
        return Unit(order.id, run_unit, {"order": order}, self.resources, patient_s)

    def _outcomes(
        self, units: Iterable[Unit], total_bytes: int, label: str, size_bytes: dict[str, int]
    ) -> Iterator[Outcome]:
        """Outcomes as they come, with live progress; the first fault ends the run with its cause."""
        with (
            closing(self.executor.run(units)) as outcomes,  # type: ignore[type-var]  # generators close
            Progress(total_bytes, label, enabled=self.show) as progress,
        ):
            for outcome in outcomes:
                if outcome.fault is not None:
                    raise _failure(outcome)
                progress.advance(size_bytes[outcome.unit_id])
                yield outcome

    def _kept(self) -> set[str]:
        """Units of an earlier run whose bytes on disk still have the digests their receipts name."""
        receipts = self.staging.ledger.done
        held = {unit.id: unit for unit in self.plan.units if unit.id in receipts}
        if self.plan.discard:
            return set(held)
        units = (
            Unit(f"check-{unit.id}", intact, {"pieces": self._laid_down(unit, receipts[unit.id]["digests"])})
            for unit in held.values()
        )
        sizes = {f"check-{unit.id}": unit.write_bytes for unit in held.values()}
        kept = set()
        if held:
            for outcome in self._outcomes(units, sum(sizes.values()), "checking finished work", sizes):
                assert outcome.value is not None
                if outcome.value["intact"]:
                    kept.add(outcome.unit_id.removeprefix("check-"))
        return kept

    def _laid_down(self, unit: UnitPlan, digests: dict[str, str]) -> list[tuple[str, int, int, str]]:
        """(path, first byte, end byte, digest) of every piece of a finished unit."""
        found = []
        for piece in unit.pieces:
            tensor = self.plan.tensors[piece.tensor]
            size = tensor.spec.dtype.size_bytes
            start, stop = (tensor.start_byte + index * size for index in (piece.start, piece.stop))
            digest = digests.get(tensor.piece_name(piece), "")
            found.append((str(self.staging.model / tensor.file), start, stop, digest))
        return found

    def _pieces_by_file(self) -> dict[str, list[tuple[int, int, str]]]:
        """Per output file: (first byte, end byte, digest) of every piece, in file order."""
        found: dict[str, list[tuple[int, int, str]]] = {shard.name: [] for shard in self.plan.shards}
        for unit in self.plan.units:
            digests = self.staging.ledger.done[unit.id]["digests"]
            for path, start, stop, digest in self._laid_down(unit, digests):
                found[Path(path).name].append((start, stop, digest))
        return {name: sorted(pieces) for name, pieces in found.items()}


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
