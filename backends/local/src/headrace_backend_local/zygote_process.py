"""Starts the zygote's process, and asks it to end. Imports little, since the zygote is started early."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from headrace_backend_local import paths
from headrace_backend_local.environment import NICE, STANDBY, ZYGOTE_DEFAULTS
from headrace_backend_local.process_tags import room_for_tag, site
from headrace_chassis.environment import inherited

AGENT = "headrace_backend_local.zygote.agent"

_START_SECONDS = 15


def command(
    deployment: str,
    directory: Path,
    agent: str = AGENT,
    *,
    standby: int = STANDBY,
    nice: int = NICE,
    accounts: bool = False,
) -> list[str]:
    """Returns the command that starts the zygote unless it runs, and ends when the zygote listens.

    Parameters
    ----------
    deployment
        Id of the deployment.
    directory
        Its local directory.
    agent
        Module that the zygote forks processes of.
    standby, nice
        As in `Hello`. With `standby` it imports everything at once; otherwise when a controller wants that.
    accounts
        Whether it starts processes as other accounts.
    """
    return [
        *(sys.executable, "-P", "-m", "headrace_backend_local.zygote"),
        *("--deployment", deployment, "--directory", str(directory), "--agent", agent),
        *("--standby", str(standby), "--nice", str(nice)),
        *(["--accounts"] if accounts else []),
        # Titles of forked processes are written over the arguments, so that the environment stays readable.
        *("--room-for-titles", "." * 256),
    ]


def environment(deployment: str, directory: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment for that command; `environ` is the server's."""
    return {**ZYGOTE_DEFAULTS, **inherited(environ), **room_for_tag(site(deployment, directory))}


def launch(
    deployment: str,
    directory: Path,
    agent: str = AGENT,
    *,
    standby: int = 0,
    nice: int = 0,
    accounts: bool = False,
) -> None:
    """Starts the zygote unless it runs; returns when it listens. Blocks for a tenth of a second: call it in a thread.

    Raises `BackendError`.
    """
    from headrace.v1.enums import ExitCause
    from headrace_controller.backends.base import BackendError

    try:
        done = subprocess.run(
            command(deployment, directory, agent, standby=standby, nice=nice, accounts=accounts),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment(deployment, directory, os.environ),
            start_new_session=True,
            timeout=_START_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"the zygote in {directory} does not start: {error}") from error
    if done.returncode != 0:
        # It says what is wrong with its directory, its accounts or its Python, and would say it again.
        why = f"the zygote in {directory} does not start: {done.stderr.strip()[-2000:]}"
        raise BackendError(why, cause=ExitCause.START_FAILED)


def shut_down(directory: Path, *, timeout: float = 5.0) -> None:
    """Ends the zygote of a local directory and all its processes; blocks until it has ended."""
    from headrace_backend_local import protocol
    from headrace_controller.backends.base import BackendError

    try:
        with socket.socket(socket.AF_UNIX) as sock, paths.short(paths.zygote(directory) / paths.SOCKET) as path:
            sock.settimeout(timeout)
            sock.connect(path)
            sock.sendall(protocol.encode(protocol.Shutdown(stop=True)))
            while sock.recv(1 << 16):
                pass
    except TimeoutError as error:
        raise BackendError(f"the zygote in {directory} does not end: see its log there") from error
    except OSError:
        return  # none runs
