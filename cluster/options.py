"""The command-line options that choose where units run, and the executor they mean. Shared by every cli."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

if TYPE_CHECKING:
    from cluster.contract import Executor

_Command = TypeVar("_Command", bound=Callable[..., Any])
_OPTIONS = (
    click.option(
        "--executor",
        type=click.Choice(["local", "ray"]),
        help="Where units run [default: local; ray with --address].",
    ),
    click.option("--address", metavar="A", help="A running Ray cluster, for example auto or 10.0.0.1:6379."),
    click.option(
        "--workers", type=click.IntRange(1), metavar="N", help="Units that run at once [default: one a core]."
    ),
)


def executor_options(command: _Command) -> _Command:
    """Add --executor, --address and --workers to a click command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def device_option(help_text: str = "Where models run.") -> Callable[[_Command], _Command]:
    """--device auto, cpu or cuda."""
    kinds = click.Choice(["auto", "cpu", "cuda"])
    return click.option("--device", type=kinds, default="auto", show_default=True, help=help_text)


def replica_option(command: _Command) -> _Command:
    """--gpus-per-model, as `devices`."""
    return click.option(
        "--gpus-per-model",
        "devices",
        type=click.IntRange(1),
        default=1,
        metavar="N",
        help="GPUs a replica of a model is spread over [default: 1].",
    )(command)


def uses_ray(executor: str | None, address: str | None) -> bool:
    """Whether the options mean Ray: an address does. Raises click.UsageError for a contradiction."""
    if executor == "local" and address:
        raise click.UsageError("--address names a Ray cluster: drop it, or use --executor ray")
    return executor == "ray" or address is not None


def start_executor(
    executor: str | None,
    address: str | None,
    workers: int | None,
    *,
    here: int,
    kind: Literal["thread", "process"] = "thread",
    memory_bytes: int | None = None,
) -> Executor:
    """The executor that the options mean: `here` workers on this machine unless told otherwise.

    `kind` says what a local worker is, `memory_bytes` (None: not counted) bounds what local units hold
    together. Without an address Ray is started on this machine alone and stopped when the executor's context
    is left; a running cluster gives as many workers as it has CPUs.
    """
    if uses_ray(executor, address):
        from cluster.on_ray import RayExecutor

        return RayExecutor(address=address, workers=workers if address else workers or here)
    from cluster.local import LocalExecutor

    return LocalExecutor(workers or here, kind=kind, memory_bytes=memory_bytes)
