"""Starts the nursery, and asks it to end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from headrace_backend_local import places, protocol
from headrace_backend_local.environment import NURSERY_DEFAULTS, inherited
from headrace_backend_local.marks import room_for_mark, site
from headrace_controller.backends.base import BackendError

_START_SECONDS = 15
AGENT = "headrace_backend_local.zygote.agent"


def launch(deployment: str, directory: Path, agent: str = AGENT) -> None:
    """Starts the nursery if none runs; returns when it listens. Blocks for a tenth of a second: call it in a thread."""
    command = [
        *(sys.executable, "-P", "-m", "headrace_backend_local.zygote"),
        *("--deployment", deployment, "--directory", str(directory), "--agent", agent),
        # Titles of forked processes go where the arguments were, so that the environment stays legible.
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
            env={**NURSERY_DEFAULTS, **inherited(os.environ), **room_for_mark(site(deployment, directory))},
            start_new_session=True,
            timeout=_START_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"the nursery in {directory} does not start: {error}") from error
    if done.returncode != 0:
        raise BackendError(f"the nursery in {directory} does not start: {done.stderr.strip()[-2000:]}")


def shut_down(directory: Path, *, timeout: float = 5.0) -> None:
    """Stops everything that the nursery of this directory looks after, and the nursery; blocks until it has ended."""
    try:
        with socket.socket(socket.AF_UNIX) as sock, places.short(places.nursery(directory) / places.SOCKET) as path:
            sock.settimeout(timeout)
            sock.connect(path)
            sock.sendall(protocol.encode(protocol.Shutdown(stop=True)))
            while sock.recv(1 << 16):
                pass
    except TimeoutError as error:
        raise BackendError(f"the nursery in {directory} does not end: see its log there") from error
    except OSError:
        return  # none runs
