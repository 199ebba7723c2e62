"""How models are evaluated: the few settings that a whole run shares. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from evals.task import Task


@dataclass(frozen=True)
class Setting:
    """`limit` lowers every task's own; `batch_size` as lm-eval takes it ("8", "auto"); `threads` a worker."""

    limit: int | None = None
    batch_size: str = "8"
    device: str = "cpu"
    threads: int = 1

    def items(self, task: Task) -> int | None:
        """How many items of the task are scored at most; None for all."""
        limits = [limit for limit in (task.limit, self.limit) if limit is not None]
        return min(limits, default=None)
