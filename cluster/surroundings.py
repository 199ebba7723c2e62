"""What surrounds Ray without being Ray: environment variables, a temporary directory, a signal handler.

`Surroundings` prepares an embedded Ray (this machine only, loopback only, nobody else's token, nothing
reported) and puts everything back. `missing_settings` tells which settings a cluster lacks that let it
notice a dead host. Ray reads much of this when it is imported, so this module must never import it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster import guardian
from cluster.attempt import THREAD_VARIABLES

# Sockets below the temporary directory must stay under 107 bytes; Ray adds about 70 of its own.
LONGEST_PARENT = 30
PREFIX = "mscale-"
SWEEP_AFTER_S = 300.0

# Variables that ray.init sets in the driver and leaves behind.
RAYS_OWN_VARIABLES = ("PYTHONBREAKPOINT", "RAY_CLIENT_MODE")

# Seconds without an answer of Ray's control process (GCS) after which its other processes, the driver among
# them, end themselves. Ray's own minute passes on a machine where much more runs than it has cores.
_PATIENCE, _PATIENCE_S = "RAY_gcs_rpc_server_reconnect_timeout_s", "180"

# One token a process: Ray's core keeps the first one it has read.
_TOKEN = secrets.token_hex(32)

# With Ray's defaults a host that falls off the network is noticed after a minute and its tasks are neither
# retried nor failed for many more; with all six, measured, after eleven seconds. They belong on every host,
# driver included.
CLUSTER_SETTINGS: Mapping[str, str] = {
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
}


def missing_settings() -> tuple[str, ...]:
    """Names of the settings that this process's environment lacks."""
    return tuple(name for name in CLUSTER_SETTINGS if name not in os.environ)


def settings_hint() -> str:
    """How to set them, as one shell line."""
    return "export " + " ".join(f"{name}={value}" for name, value in CLUSTER_SETTINGS.items())


class Surroundings:
    """This process's environment while it is connected to Ray, put back by `restore`."""

    def __init__(self) -> None:
        self.temp_dir = ""
        self._saved: dict[str, str | None] = {}
        self._sigterm: Any = None
        self._lock: int | None = None
        self._guardian: subprocess.Popen[bytes] | None = None

    def remember(self, names: Iterable[str] = RAYS_OWN_VARIABLES) -> None:
        """Note what `restore` will put back: these variables, and the SIGTERM handler that Ray replaces."""
        self._saved |= {name: os.environ.get(name) for name in names if name not in self._saved}
        if threading.current_thread() is threading.main_thread():
            self._sigterm = signal.getsignal(signal.SIGTERM)

    def prepare(self) -> str:
        """Set what an embedded Ray needs; makes its temporary directory and returns it."""
        variables = _variables()
        self.remember((*RAYS_OWN_VARIABLES, *variables))
        os.environ.update(variables)
        parent = _short_directory()
        _sweep(Path(parent))
        self.temp_dir = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
        self._lock = _locked(Path(self.temp_dir))
        self._guardian = guardian.post(self.temp_dir)
        return self.temp_dir

    def restore(self) -> None:
        """Put everything back and remove the temporary directory. Doing it twice is fine."""
        _put_back(self._saved)
        self._saved = {}
        if self._sigterm is not None:
            signal.signal(signal.SIGTERM, self._sigterm)
            self._sigterm = None
        if self._guardian is not None:
            guardian.dismiss(self._guardian)
            self._guardian = None
        if self.temp_dir:
            shutil.rmtree(self.temp_dir, ignore_errors=True)
            self.temp_dir = ""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextmanager
def single_threaded() -> Iterator[None]:
    """Processes started inside inherit one numeric thread; this process's variables come back at the end."""
    saved = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        _put_back(saved)


def _put_back(saved: Mapping[str, str | None]) -> None:
    for name, value in saved.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _variables() -> dict[str, str]:
    chosen = os.environ.get("RAY_AUTH_TOKEN") if os.environ.get("RAY_AUTH_MODE") == "token" else None
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the name misleads: it keeps every listener on 127.0.0.1
        "RAY_AUTH_MODE": "token",  # other users of this machine can reach loopback too
        "RAY_AUTH_TOKEN": chosen or _TOKEN,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` Ray would upload the working directory
        "RAY_DEDUP_LOGS": "0",
        _PATIENCE: os.environ.get(_PATIENCE, _PATIENCE_S),
    }


def _locked(directory: Path) -> int | None:
    """A descriptor that holds the directory's lock until it is closed; None if another process has it."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sweep(parent: Path) -> None:
    """Remove temporary directories whose process was killed: ours, old enough, and nobody has their lock."""
    for directory in parent.glob(f"{PREFIX}*"):
        try:
            found = directory.stat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < SWEEP_AFTER_S:
                continue
            lock = _locked(directory)
        except OSError:  # somebody else is removing it
            continue
        if lock is not None:
            shutil.rmtree(directory, ignore_errors=True)
            os.close(lock)


def _short_directory() -> str:
    usual = tempfile.gettempdir()
    return usual if len(usual) <= LONGEST_PARENT or not Path("/tmp").is_dir() else "/tmp"
