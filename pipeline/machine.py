"""What this machine offers: cores, memory, a GPU. Asked once, before planning; knows nothing of models."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.probe import free_memory_bytes
from pipeline.errors import InputError, shown

_SIZE = re.compile(r"\s*([0-9]{1,19}(?:\.[0-9]{1,19})?)\s*([kmgt]?)(i?)b?\s*", re.ASCII)
_MOST_BYTES = 1 << 60
_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SHARE = 0.5


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory_bytes() -> int:
    """Memory that can be taken without swapping, bounded by what is left of any control group's limit."""
    return free_memory_bytes()


def local_share(device: str) -> dict[str, Any]:
    """What the workers of a command may use of this machine: `here`, how many; `memory_bytes`, together.

    One worker a core; where models run on "cuda" one in all, as local workers share the GPU they see.
    """
    return {"here": 1 if device == "cuda" else cores(), "memory_bytes": available_memory_bytes()}


def default_memory_bytes() -> int:
    """Half of what is available now."""
    return int(available_memory_bytes() * _SHARE)


def parse_bytes(text: str) -> int:
    """ "4GiB", "500MB", "1.5g" or plain bytes -> bytes, from 1 to 2^60.

    Raises InputError for anything else.
    """
    match = _SIZE.fullmatch(text.lower())
    size_bytes = 0
    if match is not None:
        scale = _UNITS[match[2]]
        if match[3] and match[2]:
            scale = 1024 ** ("kmgt".index(match[2]) + 1)
        size_bytes = int(float(match[1]) * scale)
    if not 1 <= size_bytes <= _MOST_BYTES:
        raise InputError(
            "not a size",
            found=shown(repr(text), 60),
            expected="a number and a unit, 1 byte to 1024 PiB",
            hint="write for example 4GiB",
        )
    return size_bytes


def cpu_precision() -> str:
    """The type this processor multiplies matrices in fast: "bfloat16" or "float32".

    Without them bfloat16 products are emulated: measured 1.2 against 66 GFLOP/s on an AVX2 core.
    """
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.exists() else set()
    return "bfloat16" if flags & {"avx512_bf16", "amx_bf16"} else "float32"


def choose_device(wanted: str) -> str:
    """ "auto" -> "cuda" where torch sees a GPU, else "cpu". Raises InputError when "cuda" is asked for and
    absent.
    """
    if wanted == "cpu" or (wanted == "auto" and not _has_gpu_driver()):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise InputError(
            "no CUDA device is visible", expected="a GPU and a torch build with CUDA", hint="use --device cpu"
        )
    return "cpu"


def choose_device_at(
    wanted: str,
    address: str | None,
    report: Callable[[str], None],
    otherwise: str = "--device cuda takes the cluster's",
) -> str:
    """`choose_device` for a command whose units run on the cluster at `address` (None: on this machine).

    The GPUs of a cluster are not this machine's: there "cuda" is taken at its word, and where "auto" finds
    no GPU here `report` is told so, with how to use the cluster's.
    """
    if address is None:
        return choose_device(wanted)
    chosen = wanted if wanted == "cuda" else choose_device(wanted)
    if (wanted, chosen) == ("auto", "cpu"):
        report(f"the work runs on CPUs: this machine has no GPU; {otherwise}")
    return chosen


def _has_gpu_driver() -> bool:
    """A cheap look that spares loading torch on machines without a GPU."""
    return (
        Path("/proc/driver/nvidia").exists() or Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists()
    )
