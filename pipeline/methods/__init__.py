"""The catalogue of merge methods: one explicit table, loaded on demand, without torch."""

from __future__ import annotations

from importlib import import_module

from pipeline.errors import ConfigError, near
from pipeline.methods.contract import Method

CATALOGUE: dict[str, str] = {
    "linear": "pipeline.methods.linear:METHOD",
    "task_arithmetic": "pipeline.methods.task_arithmetic:METHOD",
    "ties": "pipeline.methods.ties:METHOD",
    "dare_linear": "pipeline.methods.dare:LINEAR",
    "dare_ties": "pipeline.methods.dare:TIES",
}


def load_method(name: str, where: str = "") -> Method:
    """The method called `name`. Raises ConfigError, with the nearest known name, when there is none."""
    if name not in CATALOGUE:
        raise ConfigError(f'unknown merge method "{name}"', where=where, hint=near(name, list(CATALOGUE)))
    module, attribute = CATALOGUE[name].split(":")
    method = getattr(import_module(module), attribute)
    assert isinstance(method, Method)
    return method
