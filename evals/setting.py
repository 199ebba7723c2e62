"""How models are evaluated: the few settings that a whole run shares. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evals.task import Task
from pipeline.errors import InputError
from pipeline.machine import cpu_precision


@dataclass(frozen=True)
class Setting:
    """`limit` lowers every task's own; `batch_size` as lm-eval takes it ("8", "auto"); `threads` a worker.

    devices: GPUs that one replica of a model is spread over; more than one where it does not fit on one.

    dtype: torch's name of the type that models are loaded in, or "auto": the one their config names.
    """

    limit: int | None = None
    batch_size: str = "8"
    device: str = "cpu"
    dtype: str = "auto"
    threads: int = 1
    devices: int = 1

    @classmethod
    def on(cls, device: str, dtype: str = "auto", **fields: Any) -> Setting:
        """A setting for a device. "auto" on a CPU is what the processor multiplies fast.

        InputError: several devices a model where there is no GPU.
        """
        dtype = cpu_precision() if (device, dtype) == ("cpu", "auto") else dtype
        setting = cls(device=device, dtype=dtype, **fields)
        if setting.devices > 1 and device != "cuda":
            raise InputError(
                "several GPUs a model, but no GPU", where="--gpus-per-model", found=str(setting.devices)
            )
        return setting

    def items(self, task: Task) -> int | None:
        """How many items of the task are scored at most; None for all."""
        return lowest(task.limit, self.limit)


def lowest(*limits: int | None) -> int | None:
    """The lowest of the limits that there are, None where there is none."""
    return min((limit for limit in limits if limit is not None), default=None)
