"""Merging: configs and checkpoints in, a published model out. The API: load_config, plan_merge, run_merge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config.load import load_config
    from pipeline.plan.build import plan_merge
    from pipeline.run import run_merge

__all__ = ["load_config", "plan_merge", "run_merge"]
_HOMES = {
    "load_config": "pipeline.config.load",
    "plan_merge": "pipeline.plan.build",
    "run_merge": "pipeline.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that importing a submodule stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
