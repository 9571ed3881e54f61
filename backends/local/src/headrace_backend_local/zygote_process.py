"""Starts the zygote's process, and asks it to end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from headrace_backend_local import paths, protocol
from headrace_backend_local.environment import ZYGOTE_DEFAULTS, inherited
from headrace_backend_local.process_tags import room_for_tag, site
from headrace_controller.backends.base import BackendError

AGENT = "headrace_backend_local.zygote.agent"

_START_SECONDS = 15


def launch(deployment: str, directory: Path, agent: str = AGENT, *, standby: int = 0, nice: int = 0) -> None:
    """Starts the zygote unless it runs; returns when it listens. Blocks for a tenth of a second: call it in a thread.

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
    """
    command = [
        *(sys.executable, "-P", "-m", "headrace_backend_local.zygote"),
        *("--deployment", deployment, "--directory", str(directory), "--agent", agent),
        *("--standby", str(standby), "--nice", str(nice)),
        # Titles of forked processes are written over the arguments, so that the environment stays readable.
        *("--room-for-titles", "." * 256),
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**ZYGOTE_DEFAULTS, **inherited(os.environ), **room_for_tag(site(deployment, directory))},
            start_new_session=True,
            timeout=_START_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"the zygote in {directory} does not start: {error}") from error
    if done.returncode != 0:
        raise BackendError(f"the zygote in {directory} does not start: {done.stderr.strip()[-2000:]}")


def shut_down(directory: Path, *, timeout: float = 5.0) -> None:
    """Ends the zygote of a local directory and all its processes; blocks until it has ended."""
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
