"""A port for a server of a test that is away for a while."""

from __future__ import annotations

import socket


def held_port() -> socket.socket:
    """Binds a free port: servers can listen on it, and nobody who takes any free port is given it."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held
