"""Connecting to Ray so that failure is quick and says what to do.

Left to itself Ray tries an address where nothing listens for minutes, reads parts of its environment only
once, at import, and rewrites 127.0.0.1 to the outward address of the machine. This module is handed the
`ray` module; it never imports it.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from typing import Any

from cluster.contract import ClusterError
from cluster.surroundings import settings_hint

ANSWER_WAIT_S = 5.0
LOOPBACK_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0" keeps Ray on 127.0.0.1, on Linux too

_log = logging.getLogger("mergescale.cluster")


def start(ray: Any, **options: Any) -> None:
    """Start an embedded Ray with these ray.init options. Raises ClusterError."""
    try:
        _init(ray, address="local", **options)
    except ClusterError as error:
        raise ClusterError(f"an embedded Ray cannot start: {error.what}", "use --executor local") from error


def join(ray: Any, address: str) -> None:
    """Join the running cluster at "auto", "host" + ":port". Raises ClusterError.

    Where the head listens on loopback only, this process is kept on loopback too (by an environment
    variable that the caller puts back).
    """
    if "://" in address:
        raise ClusterError(
            f"{address} is not a cluster address", "run on a host of the cluster, with host:port or auto"
        )
    reread_environment(ray)
    target = _listening(ray, address)
    try:
        _init(ray, address=target)
    except ClusterError as error:
        hint = "compare its token, Ray and Python versions with this machine's; `ray status` there tells more"
        raise ClusterError(f"cannot join the Ray cluster at {target}: {error.what}", hint) from error


def reread_environment(ray: Any) -> None:
    """Let Ray see variables that changed since its import, by the steps of its own start-up.

    A version without tokens has nothing to read again but the first.
    """
    constants = ray._private.ray_constants
    local = sys.platform in ("darwin", "win32")
    constants.ENABLE_RAY_CLUSTER = constants.env_bool(LOOPBACK_SWITCH, not local)
    if hasattr(ray._raylet, "AuthenticationTokenLoader"):
        ray._raylet.Config.initialize("")
        ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


def warn_of_missing_settings(who: str, missing: tuple[str, ...]) -> None:
    """Tell people, once, what to set so that lost hosts are noticed."""
    _log.warning(
        "%s runs Ray with default health settings: units on a host that drops off the network may hang for "
        "minutes.\n  missing:  %s\n  hint:     on every host before `ray start`, and here: %s",
        who,
        ", ".join(missing),
        settings_hint(),
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _init(ray: Any, **options: Any) -> None:
    reread_environment(ray)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        # Ray prints cluster events to stdout all the same, pages when a node dies. Stdout is for data.
        ray._private.worker._worker_logs_enabled = False
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError, AssertionError) as error:
        raise ClusterError(first_line(error)) from error
    except Exception as error:
        if type(error) is not Exception:  # that is what Ray raises when its processes do not start in time
            raise
        raise ClusterError(first_line(error)) from error


def _listening(ray: Any, address: str) -> str:
    """host:port, resolved as Ray does, of something that accepts connections."""
    try:
        resolved = ray._private.services.canonicalize_bootstrap_address(address)
    except (ConnectionError, ValueError) as error:
        raise ClusterError(
            f'"{address}" names no Ray cluster: {first_line(error)}', "give host:port"
        ) from error
    if resolved is None:
        raise ClusterError(
            "no Ray cluster runs on this machine",
            "give --address host:port, or start one: `ray start --head`",
        )
    host, _, port = resolved.rpartition(":")
    if _answers(host, port):
        return str(resolved)
    if address.startswith(("127.0.0.1:", "localhost:", "auto")) and _answers("127.0.0.1", port):
        os.environ[LOOPBACK_SWITCH] = "0"
        return f"127.0.0.1:{port}"
    raise ClusterError(
        f"nothing listens at {resolved}", "check the address, the firewall, and `ray status` there"
    )


def _answers(host: str, port: str) -> bool:
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_WAIT_S).close()
    except (OSError, ValueError):
        return False
    return True
