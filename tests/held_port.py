"""Ports for servers of a test that do not listen yet, or are away for a while."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager


def held_port(host: str = "127.0.0.1") -> socket.socket:
    """Binds a free port: servers can listen on it, and nobody who takes any free port is given it."""
    held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((host, 0))
    return held


@contextmanager
def held_ports(count: int) -> Generator[list[int]]:
    """Holds several."""
    with ExitStack() as stack:
        yield [stack.enter_context(held_port()).getsockname()[1] for _ in range(count)]
