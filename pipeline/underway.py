"""One merge on its way: its plan, its work directory, the rounds, and what of it is finished already.

It says what is to be done and keeps what came back; who does it is `run.py`'s business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cluster.contract import Executor, Unit
from pipeline.checkpoint.commit import publish
from pipeline.checkpoint.files import digest_bytes
from pipeline.checkpoint.manifest import Manifest
from pipeline.checkpoint.nonfinite import NonFinite
from pipeline.measuring import Measuring, Settled, merge_order
from pipeline.plan.plan import MergePlan, UnitPlan
from pipeline.plan_record import InputChanged, check_inputs_unchanged
from pipeline.publishing import furnish, note_discarded, planned_names, write_beside
from pipeline.staging import Staging
from pipeline.work.orders import MergeOrder
from pipeline.work.seal import intact, seal
from pipeline.work.tracing import explained, trace


class Underway:
    """A merge between an opened work directory and a published model."""

    def __init__(self, plan: MergePlan, staging: Staging) -> None:
        self.plan, self.staging = plan, staging
        self.measuring = Measuring(plan, staging)
        #: What is not finite in the merged model, once it has been traced.
        self.nonfinite: tuple[NonFinite, ...] = ()

    @classmethod
    def begin(cls, plan: MergePlan, out: Path, fresh: bool) -> Underway:
        """Open, prepare and hold the work directory of a merge into `out`; see `Staging`. What lies beside
        the weights is written now, before there is work that it could fail after.
        """
        staging = Staging(plan, out, fresh, planned_names(plan))
        with ExitStack() as opened:
            opened.push(staging)
            if staging.done is None:
                write_beside(plan, staging.model)
            opened.pop_all()
        return cls(plan, staging)

    def order(self, unit: UnitPlan) -> MergeOrder:
        """The merge's part in a unit, with what the rounds found out about its group."""
        known = Settled() if unit.group is None else self.measuring.settled[unit.group]
        return merge_order(self.plan, self.staging, unit, known)

    def note(self, unit_id: str, receipt: Mapping[str, Any], worker: str) -> None:
        """A unit's part is done."""
        self.staging.ledger.append(unit_id, {**receipt, "worker": worker})

    def checks(self) -> list[tuple[Unit, int]]:
        """(a unit that reads back what an earlier run laid down, its bytes) for each receipt; the unit's id
        is that of the work. Discarded bytes cannot be read back.
        """
        receipts = self._counted()
        return [
            (Unit(unit.id, intact, {"pieces": self._laid_down(unit, receipts[unit.id])}), unit.write_bytes)
            for unit in self.plan.units
            if unit.id in receipts and not self.plan.discard
        ]

    def kept(self, checked: Mapping[str, bool]) -> set[str]:
        """Units that need not be run again, given what `checks` found."""
        if self.plan.discard:
            receipts = self._counted()
            return {unit.id for unit in self.plan.units if unit.id in receipts}
        return {unit_id for unit_id, intact_ in checked.items() if intact_}

    def seals(self) -> list[tuple[Unit, int]]:
        """(a unit that digests a whole weight file and holds its header against the plan, its pieces against
        their receipts; its bytes).

        The unit's id is the name of the file.
        """
        if self.plan.discard:
            return []
        found, pieces = [], self._pieces_by_file()
        for shard in self.plan.shards:
            header = (0, len(shard.header), digest_bytes(shard.header))
            path = str(self.staging.model / shard.name)
            unit = Unit(shard.name, seal, {"path": path, "pieces": [header, *pieces[shard.name]]})
            found.append((unit, shard.size_bytes))
        return found

    def traces(self) -> list[tuple[Unit, int]]:
        """(a unit that reads the inputs of a tensor again, their bytes) for each tensor that is not finite
        throughout; the unit's id is the name of the tensor.
        """
        counts = self._nonfinite_counts()
        return [
            (
                Unit(tensor.spec.name, trace, {"tensor": tensor}),
                tensor.spec.numel * tensor.read_bytes_per_element,
            )
            for tensor in self.plan.tensors
            if tensor.spec.name in counts
        ]

    def note_traced(self, traced: Mapping[str, tuple[int | None, int]]) -> None:
        """Keep what the units of `traces` found."""
        counts = self._nonfinite_counts()
        self.nonfinite = tuple(
            explained(self.plan, tensor, counts[tensor.spec.name], traced[tensor.spec.name])
            for tensor in self.plan.tensors
            if tensor.spec.name in counts
        )

    def publish(
        self, sealed: Mapping[str, str], executor: Executor, elapsed_s: float, *, replace: bool
    ) -> Manifest:
        """Furnish the finished weights, whose files have the digests `sealed`, and rename them to OUT.

        Where nothing was written a file's digest is that of the list of its pieces and their digests.
        """
        if self.plan.discard:
            pieces = self._pieces_by_file()
            digests = {name: digest_bytes(repr(found).encode()) for name, found in pieces.items()}
            manifest = note_discarded(self.plan, self.staging, digests, executor, elapsed_s, self.nonfinite)
        else:
            self.staging.prove(complete=False)  # before anything is written beside the weights again
            manifest = furnish(self.plan, self.staging, sealed, executor, elapsed_s, self.nonfinite)
        self.staging.prove(complete=True)
        try:
            check_inputs_unchanged(self.plan)
        except InputChanged:
            self.staging.ledger.clear()  # what was merged may be a mix: no later run may count on it
            raise
        publish(self.staging.model, self.staging.out, self.staging.replaced, replace=replace)
        self.staging.discard()
        return manifest

    def _counted(self) -> dict[str, Mapping[str, Any]]:
        """Receipts of finished units by id. One of an earlier version does not say how many elements are not
        finite: its unit is run again.
        """
        return {
            unit_id: receipt
            for unit_id, receipt in self.staging.ledger.done.items()
            if isinstance(receipt.get("nonfinite"), dict)
        }

    def _nonfinite_counts(self) -> Counter[str]:
        """Elements of each merged tensor that are NaN or infinite, over all pieces of it."""
        counts: Counter[str] = Counter()
        for unit in self.plan.units:
            counts.update(self.staging.ledger.done[unit.id]["nonfinite"])
        return counts

    def _laid_down(self, unit: UnitPlan, receipt: Mapping[str, Any]) -> list[tuple[str, int, int, str]]:
        """(path, first byte, end byte, digest) of every piece of a finished unit."""
        found = []
        for piece in unit.pieces:
            tensor = self.plan.tensors[piece.tensor]
            size = tensor.spec.dtype.size_bytes
            start, stop = (tensor.start_byte + index * size for index in (piece.start, piece.stop))
            digest = receipt["digests"].get(tensor.piece_name(piece), "")
            found.append((str(self.staging.model / tensor.file), start, stop, digest))
        return found

    def _pieces_by_file(self) -> dict[str, list[tuple[int, int, str]]]:
        """Per output file: (first byte, end byte, digest) of every piece, in file order."""
        found: dict[str, list[tuple[int, int, str]]] = {shard.name: [] for shard in self.plan.shards}
        for unit in self.plan.units:
            for path, start, stop, digest in self._laid_down(unit, self.staging.ledger.done[unit.id]):
                found[Path(path).name].append((start, stop, digest))
        return {name: sorted(pieces) for name, pieces in found.items()}
