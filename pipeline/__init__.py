"""Merging: configs and checkpoints in, published models out. The API: load_config, plan_merge, run_merge,
and load_configs, plan_merges, run_merges for several that read together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config.load import load_config, load_configs
    from pipeline.plan.build import plan_merge, plan_merges
    from pipeline.run import run_merge, run_merges

__all__ = ["load_config", "load_configs", "plan_merge", "plan_merges", "run_merge", "run_merges"]
_HOMES = {
    "load_config": "pipeline.config.load",
    "load_configs": "pipeline.config.load",
    "plan_merge": "pipeline.plan.build",
    "plan_merges": "pipeline.plan.build",
    "run_merge": "pipeline.run",
    "run_merges": "pipeline.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that importing a submodule stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
