"""The public port: free, or a clear word that it is not."""

from __future__ import annotations

import errno
import socket

from headrace_up.failure import CannotRun


def free_port(port: int) -> int:
    """Returns the port if it can be bound on the loopback address; for 0 any that can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OverflowError as error:
            raise CannotRun(f"{port} is not a port; --port takes 0 to 65535") from error
        except OSError as error:
            raise CannotRun(_explain(port, error)) from error
        return int(probe.getsockname()[1])


def _explain(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of 127.0.0.1 is taken by another program; stop that one, or choose another port with --port "
            "(--port 0 takes any free one)"
        )
    return f"port {port} of 127.0.0.1 cannot be used ({error.strerror}); choose another one with --port"
