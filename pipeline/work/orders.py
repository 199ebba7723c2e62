"""What a worker is told and what it answers. Plain frozen data that pickles; no arithmetic, no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.methods.contract import Partial, Round, Totals
from pipeline.plan.plan import Piece, TensorPlan


@dataclass(frozen=True)
class PieceOrder:
    """One piece, with what the rounds so far have settled about its scope.

    `before` is the sum of the scan rounds' partials over all pieces that precede this one.
    """

    tensor: TensorPlan
    piece: Piece
    totals: Totals = field(default_factory=dict)
    before: Partial = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the piece in receipts."""
        return self.tensor.piece_name(self.piece)


@dataclass(frozen=True)
class MergeOrder:
    """One merge's part in a unit. `round` is set when it measures instead of merging; `name` tells it from
    others of its run.

    `thin`: the round is told by a sample, the same share of every piece. `directory` holds the pre-sized
    output files, and is empty where merged bytes are digested and dropped;
    `scans` are the scan rounds already done, whose partials are recounted tile by tile.
    """

    method: str
    models: tuple[str, ...]
    directory: str
    pieces: tuple[PieceOrder, ...]
    name: str = ""
    round: Round | None = None
    thin: bool = False
    scans: tuple[Round, ...] = ()


@dataclass(frozen=True)
class UnitOrder:
    """All that one unit of work needs to know: what each merge does with bytes that are read once for all.

    Either all of `merges` measure or none does. `memory_bytes` bounds the raw input bytes held at once;
    `forget`: memory does not hold the inputs, so that nothing read is there when it is read again.
    """

    id: str
    device: str
    memory_bytes: int
    merges: tuple[MergeOrder, ...]
    forget: bool = False


@dataclass
class Clock:
    """Seconds a unit spent waiting for input, computing, and waiting for output."""

    read_s: float = 0.0
    compute_s: float = 0.0
    write_s: float = 0.0


@dataclass(frozen=True)
class Receipt:
    """The proof that one merge's part of a unit is done: digests of its bytes, by "tensor[start:stop]", and
    how many of the merged elements are NaN or infinite, by tensor (those that have none are left out).

    `read_bytes` are those that this merge needed, the seconds are the whole unit's. `rounds`: how many of the
    pieces it held took each of the method's rounds, which shows where a guess missed and more were needed.
    """

    digests: dict[str, str]
    nonfinite: Mapping[str, int]
    read_bytes: int
    write_bytes: int
    elapsed_s: float
    clock: Clock
    peak_rss_bytes: int
    rounds: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As plain data for the ledger."""
        return {
            "digests": self.digests,
            "nonfinite": dict(self.nonfinite),
            "read_bytes": self.read_bytes,
            "write_bytes": self.write_bytes,
            "elapsed_s": round(self.elapsed_s, 4),
            "read_s": round(self.clock.read_s, 4),
            "compute_s": round(self.clock.compute_s, 4),
            "write_s": round(self.clock.write_s, 4),
            "peak_rss_bytes": self.peak_rss_bytes,
            "rounds": dict(self.rounds),
        }
