"""The front door: one table from each command's name to the cli that owns it, and how errors end.

Nothing heavy is imported to show help. Exit codes: 0 done, 1 failed, 2 the user's input was wrong, 130
interrupted.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version

import click

from cluster.contract import ClusterError
from pipeline.errors import MergescaleError, near, shown, shown_lines

#: In the order of `--help`: the merge, its measurement, the machines.
COMMANDS = {
    "merge": "pipeline.cli:merge",
    "plan": "pipeline.cli:plan",
    "verify": "pipeline.cli:verify",
    "status": "pipeline.cli:status",
    "methods": "pipeline.cli:methods",
    "eval": "evals.cli:eval_command",
    "examples": "evals.examples_cli:examples_command",
    "train": "pipeline.training.cli:train_command",
    "family": "evals.family.cli:family",
    "study": "evals.studies.cli:study",
    "demo": "evals.demo.cli:demo_command",
    "cluster": "cluster.cli:cluster",
}

_INTERRUPTED = "interrupted: finished work is kept; the same command continues"
#: Exit codes that a signal asks for -> how the command ends then. By `_end`, and for SIGTERM by Ray's own
#: handler while Ray runs.
_TOLD_TO_END = {
    128 + signal.SIGTERM: 128 + signal.SIGTERM,
    signal.SIGTERM: 128 + signal.SIGTERM,
    128 + signal.SIGHUP: 128 + signal.SIGHUP,
}
_LOST_LOCKS = "ignore:resource_tracker:UserWarning"


class _Front(click.Group):
    """A group that imports a command's cli when the command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """The command of that name from its own cli. Raises click.UsageError with the near name."""
        if cmd_name not in COMMANDS:
            raise click.UsageError(f'no command "{cmd_name}": {near(cmd_name, list(COMMANDS))}', ctx)
        module, attribute = COMMANDS[cmd_name].split(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=_Front,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example:  mergescale merge configs/merge/ties.yaml merged/ties",
)
@click.version_option(version("mergescale"), prog_name="mergescale")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def app(debug: bool) -> None:
    """Merge very large language models on a Ray cluster, and measure what the merge is worth."""


def _end(number: int, _frame: object) -> None:
    """Leave as the shell expects of a command that a signal ended."""
    sys.exit(128 + number)


def _say_interrupted() -> None:
    """Say that the command can be run again, where the terminal still listens."""
    with suppress(OSError):
        click.echo(_INTERRUPTED, err=True)


def _hush_lost_locks() -> None:
    """Processes started from here on do not warn of locks that a killed worker left: they are cleaned up."""
    given = os.environ.get("PYTHONWARNINGS", "")
    if _LOST_LOCKS not in given:
        os.environ["PYTHONWARNINGS"] = f"{given},{_LOST_LOCKS}" if given else _LOST_LOCKS


def run() -> None:
    """`main` as a process of its own, which ends when its work has.

    Once threads have ended and the exit functions registered since have run (the first one, ours, runs last),
    all that is left is to take a few hundred modules apart: 0.2 s for what numba loads.
    """
    code: object = 1  # of an error that nobody turned into one

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        if isinstance(code, int):
            os._exit(code)

    atexit.register(leave)
    try:
        main()
    except SystemExit as ended:
        code = ended.code
        raise


def main() -> None:
    """Run the command line and end with the exit code that the outcome means."""
    _hush_lost_locks()
    signal.signal(signal.SIGTERM, _end)  # a request to end, not a kill: workers are told to stop
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: the command outlives its terminal
        signal.signal(signal.SIGHUP, _end)
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        code = app.main(arguments, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except (MergescaleError, ClusterError) as error:
        if debug:
            raise
        click.echo(f"error: {shown_lines(error)}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except OSError as error:
        if debug:
            raise
        click.echo(f"error: {shown(error, 4000)}\n  hint:     --debug shows where it happened", err=True)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        _say_interrupted()
        sys.exit(130)
    except SystemExit as ended:
        if ended.code not in _TOLD_TO_END:
            raise
        _say_interrupted()
        sys.exit(_TOLD_TO_END[ended.code])
