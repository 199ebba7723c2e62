"""What a plan costs: bytes, peak memory of a worker, seconds. Arithmetic on headers; it measures nothing.

The sizes below are shared with the workers: they decide how much is read, computed and held at a time, never
what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pipeline.errors import InputError
from pipeline.methods.contract import Traits
from pipeline.plan.plan import Cost, Group, Limits, Piece, TensorPlan, UnitPlan

#: What a process takes before it holds any data: interpreter, numpy, compiled loops or torch.
INTERPRETER_BYTES = 400 << 20
#: Elements the arithmetic sees at once: 1 MiB of fp32 an expert stays in a core's cache; a GPU wants far
#: larger blocks.
TILE_ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 24}
#: A sample is this share of the elements it speaks for, or so many if that is more, in runs of this length.
SAMPLE_SHARE, SAMPLE_LEAST, SAMPLE_RUN = 1 / 32, 1 << 18, 1 << 14
#: Elements read per source and written per call; a few MiB a call is where reading into a reused buffer is
#: fastest.
LOAD_ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 24}
#: fp32 temporaries that plain torch may hold for a tile, in tiles, beside the models and the experts' deltas.
_TEMPORARY_TILES = 9
#: Counts that a round may hold of one expert: the largest window's, and what they are added to.
TABLE_BYTES = 9 << 19
START_S = 1.5


def workspace_bytes(experts: int, device: str) -> int:
    """Bytes of one worker: models, deltas and temporaries of a tile in fp32, counts, and two output
    buffers.
    """
    tiles = TILE_ELEMENTS[device] * 4 * (2 * experts + 1 + _TEMPORARY_TILES)
    return tiles + experts * TABLE_BYTES + 2 * LOAD_ELEMENTS[device] * 4


def is_sampled(numel: int) -> bool:
    """Whether so many elements, lying in many pieces, are sampled (the same share of each) or all counted."""
    return numel * SAMPLE_SHARE >= SAMPLE_LEAST


def stream_bytes(read_bytes_per_element: int, device: str) -> int:
    """Bytes of the two read buffers through which a streamed piece flows."""
    return 2 * LOAD_ELEMENTS[device] * read_bytes_per_element


def fits(tensor: TensorPlan, experts: int, limits: Limits, device: str) -> bool:
    """Whether the tensor can be held in a worker's memory in all models at once."""
    held = tensor.spec.numel * tensor.read_bytes_per_element
    return held + workspace_bytes(experts, device) <= limits.memory_bytes


def least_bytes(tensors: Sequence[TensorPlan], experts: int, device: str) -> int:
    """Bytes without which a worker cannot even stream: its workspace and read buffers."""
    widest = max((tensor.read_bytes_per_element for tensor in tensors), default=0)
    return workspace_bytes(experts, device) + stream_bytes(widest, device)


def enough_memory(
    tensors: Sequence[TensorPlan], experts: int, limits: Limits, device: str, *, merges: int = 1
) -> None:
    """Raise InputError when the bound is below `least_bytes`; `merges` read together."""
    least = least_bytes(tensors, experts, device)
    if least > limits.memory_bytes:
        raise InputError(
            f"the memory bound is too small for {limits.workers} worker(s)",
            expected=f"{least >> 20} MiB a worker beside the interpreter's {INTERPRETER_BYTES >> 20} MiB",
            found=f"{max(0, limits.memory_bytes) >> 20} MiB a worker",
            hint="raise --memory or lower --workers"
            + (", or give fewer merges at a time" if merges > 1 else ""),
        )


def raw_bytes(limits: Limits, experts: int, device: str) -> int:
    """What is left of a worker's bound for raw input bytes."""
    return limits.memory_bytes - workspace_bytes(experts, device)


def unit_seconds(read_bytes: int, write_bytes: int, inputs: int, traits: Traits, limits: Limits) -> float:
    """One core's time for a unit.

    Reading ahead hides a slow disk behind the arithmetic, but bytes that are in memory already are copied by
    the same core, and arithmetic is a small part of most merges: the two are added.
    """
    io_s = (read_bytes + write_bytes) / limits.disk_bytes_per_s
    return io_s + inputs * traits.cost_ns * 1e-9


def total_cost(
    units: Sequence[UnitPlan],
    groups: Sequence[Group],
    tensors: Sequence[TensorPlan],
    limits: Limits,
    memory_bytes: int,
) -> Cost:
    """A whole merge: bytes read and written by all units, seconds over all workers; `memory_bytes` of one.

    Units of a measured group are read once more for each of its passes.
    """
    measured = sum(unit.read_bytes * groups[unit.group].passes for unit in units if unit.group is not None)
    return Cost(
        read_bytes=sum(unit.read_bytes for unit in units) + measured,
        write_bytes=sum(tensor.spec.size_bytes for tensor in tensors),
        memory_bytes=memory_bytes,
        seconds=START_S
        + (sum(unit.expected_s for unit in units) + measured / limits.disk_bytes_per_s)
        / max(1, limits.workers),
    )


def held_bytes(pieces: Sequence[Piece], tensors: Sequence[TensorPlan], device: str, bound_bytes: int) -> int:
    """Raw input bytes that a unit of these pieces holds at its worst moment: one load, and the next where
    both are within the bound.
    """
    loads: list[int] = []
    for piece in pieces:
        width = tensors[piece.tensor].read_bytes_per_element
        whole, load = piece.numel * width, stream_bytes(width, device) // 2
        loads += [whole] if piece.mode == "resident" or whole <= load else [load, load]
    return most_held(loads, bound_bytes)


def most_held(loads: Sequence[int], bound_bytes: int) -> int:
    """Bytes held while loads of these sizes follow each other: the largest, or the largest two neighbours
    that are within the bound together.
    """
    pairs = (left + right for left, right in pairwise(loads))
    return max([0, *loads, *(pair for pair in pairs if pair <= bound_bytes)])
