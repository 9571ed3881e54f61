"""Checks and holds the public port before anything is started."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from contextlib import ExitStack
from pathlib import Path

from headrace_chassis import procfs
from headrace_up.errors import CannotRun
from headrace_up.process_tags import VARIABLE

RELEASE_SECONDS = 5.0
_POLL_SECONDS = 0.02


async def hold_port(port: int, data: Path) -> socket.socket:
    """Bind a port that is free on the loopback address; for 0, any free one.

    Envoy can listen on it, and nobody who takes any free port is given it. The Envoy of a killed `headrace up` keeps
    the port for the moment that its own end takes: that is waited for.
    """
    deadline = time.monotonic() + RELEASE_SECONDS
    while _is_being_released(port, data) and time.monotonic() < deadline:  # noqa: ASYNC110 - another process's state
        await asyncio.sleep(_POLL_SECONDS)
    return _hold(port)


def _is_being_released(port: int, data: Path) -> bool:
    """Whether the port is taken by a process of this data directory, or by one whose end has begun."""
    try:
        _hold(port).close()
    except CannotRun:
        if (holder := procfs.port_holder(port)) is None:
            return procfs.port_owner(port) == os.getuid()  # a process that ends has no descriptors to be seen
        environment = procfs.environ(holder[0])  # nor an environment
        return not environment or environment.get(VARIABLE.encode()) == os.fsencode(data)
    return False


def _hold(port: int) -> socket.socket:
    with ExitStack() as stack:
        try:
            held = stack.enter_context(_bound(port))
            with _bound(held.getsockname()[1]) as probe:
                probe.listen()
        except OverflowError as error:
            raise CannotRun(f"{port} is not a port: --port takes 0 to 65535") from error
        except OSError as error:
            raise CannotRun(_explain(port, error)) from error
        stack.pop_all()
        return held


def _bound(port: int) -> socket.socket:
    """Bind a port that others may bind too, as long as nobody listens on it."""
    made = socket.socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
    except BaseException:
        made.close()
        raise
    return made


def _explain(port: int, error: OSError) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"port {port} of 127.0.0.1 cannot be used ({error.strerror}): choose another one with --port"
    holder = procfs.port_holder(port)
    who = f"pid {holder[0]} ({holder[1]})" if holder else "another program"
    return (
        f"port {port} of 127.0.0.1 is taken by {who}: stop that program, or choose another port with --port "
        "(--port 0 takes any free one)"
    )
