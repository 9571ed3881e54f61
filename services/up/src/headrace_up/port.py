"""Checks the public port before anything is started."""

from __future__ import annotations

import errno
import socket

from headrace_chassis import procfs
from headrace_up.errors import CannotRun


def free_port(port: int) -> int:
    """Return the port if it is free on the loopback address; for 0, any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OverflowError as error:
            raise CannotRun(f"{port} is not a port: --port takes 0 to 65535") from error
        except OSError as error:
            raise CannotRun(_explain(port, error)) from error
        return int(probe.getsockname()[1])


def _explain(port: int, error: OSError) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"port {port} of 127.0.0.1 cannot be used ({error.strerror}): choose another one with --port"
    holder = procfs.port_holder(port)
    who = f"pid {holder[0]} ({holder[1]})" if holder else "another program"
    return (
        f"port {port} of 127.0.0.1 is taken by {who}: stop that program, or choose another port with --port "
        "(--port 0 takes any free one)"
    )
